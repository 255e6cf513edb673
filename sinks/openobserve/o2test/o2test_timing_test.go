package o2test_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// flatRows are n records of 60 columns and about 1 kB, as a sink sends them.
func flatRows(batch, n int) []byte {
	var b bytes.Buffer
	now := time.Now().UnixMicro()
	for i := range n {
		b.WriteString(map[bool]string{true: "[", false: ","}[i == 0])
		fmt.Fprintf(&b, `{"_timestamp":%d,"row_id":"%032x","batch_id":"batch-%08d"`, now+int64(i), batch*n+i, batch)
		for c := range 30 {
			fmt.Fprintf(&b, `,"text_%02d":"v%d"`, c, (i*7+c)%100)
		}
		for c := range 22 {
			fmt.Fprintf(&b, `,"int_%02d":%d`, c, i*c)
		}
		fmt.Fprintf(&b, `,"cost_usd":%d.25,"share":0.5,"success":%t,"nothing":null,"sign":1}`, i, i%2 == 0)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// BenchmarkIngest stores batches of 1,000 flat rows, one after the other.
func BenchmarkIngest(b *testing.B) {
	for _, c := range []struct {
		name   string
		packed bool
	}{{"identity", false}, {"gzip", true}} {
		b.Run(c.name, func(b *testing.B) {
			const rows = 1000
			s := start(b, o2test.Config{})
			var bodies [][]byte
			for i := range 16 {
				body := flatRows(i, rows)
				b.SetBytes(int64(len(body)))
				if c.packed {
					var packed bytes.Buffer
					z, err := gzip.NewWriterLevel(&packed, 1)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := z.Write(body); err != nil {
						b.Fatal(err)
					}
					if err := z.Close(); err != nil {
						b.Fatal(err)
					}
					body = packed.Bytes()
				}
				bodies = append(bodies, body)
			}
			n := 0
			for b.Loop() {
				r, err := http.NewRequest("POST", s.URL()+"/api/default/flat/_json", bytes.NewReader(bodies[n%len(bodies)]))
				if err != nil {
					b.Fatal(err)
				}
				if c.packed {
					r.Header.Set("Content-Encoding", "gzip")
				}
				r.SetBasicAuth(o2test.DefaultRoot, o2test.DefaultRootPassword)
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_ = response.Body.Close()
				n++
			}
			b.ReportMetric(float64(n*rows)/b.Elapsed().Seconds(), "rows/s")
			if got := s.Count("flat"); got != n*rows {
				b.Errorf("%d rows are stored, want %d", got, n*rows)
			}
		})
	}
}
