package main
import ("testing";"os")
func TestZZProfile(t *testing.T){ c:=command(); c.SetArgs([]string{"import", os.Getenv("ZZ"), "--data", t.TempDir(), "--json"}); if err:=c.Execute(); err!=nil {t.Fatal(err)} }
