package main
import ("testing";"os";"strings";"path/filepath";"github.com/flightlog/flightlog/loadtest/recordings")
func TestZZMul(t *testing.T){ to:=os.Getenv("ZZ"); os.RemoveAll(to); _,err:=recordings.Multiply(recordings.Dir(t), filepath.Join(to,"all"), 100e6, func(p string) bool {return strings.Contains(p,"/projects/")&&strings.HasSuffix(p,".jsonl")}); if err!=nil {t.Fatal(err)}; if err:=flatten(filepath.Join(to,"all"), filepath.Join(to,"projects")); err!=nil {t.Fatal(err)} }
