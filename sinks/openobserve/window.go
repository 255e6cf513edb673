package openobserve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// Window is how far from now rows may lie that the server takes: back by
// ZO_INGEST_ALLOWED_UPTO, ahead by ZO_INGEST_ALLOWED_IN_FUTURE.
type Window struct{ Back, Ahead time.Duration }

// How the server's words begin for a row outside of its window (contract §1.4).
const (
	tooOld = "Too old data"
	tooFar = "Too far data"
)

// mostHours is as good as no limit, and fits a Duration: 100 years.
const mostHours = 100 * 365 * 24

var (
	backHours  = regexp.MustCompile(`^Too old data, only last (\d+) hours`)
	aheadHours = regexp.MustCompile(`^Too far data, only future (\d+) hours`)
)

// Window asks the server, by a row that it must refuse: its words name the
// limit. Nothing is stored and no stream is made (contract §12, rows 5 and 6).
func (c *Client) Window(ctx context.Context) (Window, error) {
	var w Window
	for _, edge := range []struct {
		at    int64 // far outside; µs
		words *regexp.Regexp
		limit *time.Duration
	}{
		{1_000_000_000_000_000, backHours, &w.Back},   // 2001
		{7_000_000_000_000_000, aheadHours, &w.Ahead}, // 2191
	} {
		a, err := c.do(ctx, request{account: &c.config.Loading, method: http.MethodPost,
			path: c.org("/" + c.config.Streams + "_window/_json"), body: fmt.Appendf(nil, `[{"_timestamp":%d}]`, edge.at)})
		if err != nil {
			return w, err
		}
		if a.status != http.StatusOK {
			return w, fmt.Errorf("as %s: %w", c.config.Loading.User, a.err())
		}
		var said counts
		if err := json.Unmarshal(a.body, &said); err != nil || len(said.Status) != 1 {
			return w, fmt.Errorf("an answer that is not OpenObserve's: %.200q", a.body)
		}
		m := edge.words.FindStringSubmatch(said.Status[0].Error)
		if m == nil {
			return w, fmt.Errorf("it does not say how old rows may be: %.200q", a.body)
		}
		hours, err := strconv.Atoi(m[1])
		if err != nil || hours > mostHours {
			hours = mostHours
		}
		*edge.limit = time.Duration(hours) * time.Hour
	}
	return w, nil
}
