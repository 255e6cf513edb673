package claudecode_test
import ("testing";"fmt";"os";"regexp")
func TestDump(t *testing.T){
 s:=os.Getenv("SCEN"); if s=="" {t.Skip()}
 re:=regexp.MustCompile(`"(event_id|fact_key|host|user|user_source|owner|repo|agent|workflow|workflow_source|session_id|root_session_id|agent_version|capture_mode|family|signal)":"?[^",]*"?,?`)
 for n,k:=range map[string]*kept{"H":hooksOf(t,s),"T":transcriptsOf(t,s)} {
  for i:=range k.events { fmt.Println(n,re.ReplaceAllString(string(k.events[i].AppendJSON(nil)),"")) }
  for _,d:=range k.dead {fmt.Println("DEAD",n,d.Reason,d.Detail,d.Position)}
 }}
