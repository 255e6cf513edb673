package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/schemas"
)

// maxUsageFile is how large a file of the vendor's export may be.
const maxUsageFile = 256 << 20

// readUsage reads files of the vendor's usage export: pages of the Admin API's
// /v1/organizations/usage_report/messages as JSON, or the CSV of the console.
// cut: its last page is not among them.
func readUsage(names []string) (usage []spend.Usage, cut bool, err error) {
	pages := 0 // after which there are more
	for _, name := range names {
		some, more, err := readUsageFile(name)
		if err != nil {
			return nil, false, fmt.Errorf("cannot read the usage in %s: %w", name, err)
		}
		usage = append(usage, some...)
		if more {
			pages++
		}
	}
	return usage, pages > 0 && pages == len(names), nil
}

func readUsageFile(name string) (usage []spend.Usage, more bool, err error) {
	text, err := readFile(name, maxUsageFile)
	if err != nil {
		return nil, false, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		usage, more, err = usagePages(text)
	} else {
		usage, err = usageCSV(text)
	}
	if err == nil && len(usage) == 0 {
		err = errors.New("it tells of no day")
	}
	return usage, more, err
}

// usagePage is one answer of the Admin API.
type usagePage struct {
	Data []struct {
		StartingAt time.Time `json:"starting_at"`
		EndingAt   time.Time `json:"ending_at"`
		Results    []struct {
			Model         *string `json:"model"`
			Uncached      int64   `json:"uncached_input_tokens"`
			CacheRead     int64   `json:"cache_read_input_tokens"`
			CacheCreation struct {
				Ephemeral5m int64 `json:"ephemeral_5m_input_tokens"`
				Ephemeral1h int64 `json:"ephemeral_1h_input_tokens"`
			} `json:"cache_creation"`
			Output        int64 `json:"output_tokens"`
			ServerToolUse struct {
				WebSearches int64 `json:"web_search_requests"`
			} `json:"server_tool_use"`
		} `json:"results"`
	} `json:"data"`
	HasMore bool `json:"has_more"`
}

// usagePages reads answers of the API, one after the other.
func usagePages(text []byte) (usage []spend.Usage, more bool, err error) {
	d := json.NewDecoder(bufio.NewReader(bytes.NewReader(text)))
	for {
		var page usagePage
		if err := d.Decode(&page); errors.Is(err, io.EOF) {
			return usage, more, nil
		} else if err != nil {
			return nil, false, err
		}
		if page.Data == nil {
			return nil, false, errors.New(`it has no "data": want an answer of usage_report/messages`)
		}
		more = page.HasMore
		for _, bucket := range page.Data {
			day := bucket.StartingAt.UTC().Format(time.DateOnly)
			if start := bucket.StartingAt; start.IsZero() || !start.Equal(start.Truncate(24*time.Hour)) || bucket.EndingAt.Sub(start) != 24*time.Hour {
				return nil, false, fmt.Errorf("a bucket from %s to %s is no day (UTC): ask for it with bucket_width=1d", when(start), when(bucket.EndingAt))
			}
			for _, r := range bucket.Results {
				if r.Model == nil {
					return nil, false, errors.New("it does not name models: ask for it with group_by[]=model")
				}
				u := spend.Usage{Day: day, Model: *r.Model}
				for figure, n := range map[spend.Figure]int64{spend.FigureInput: r.Uncached, spend.FigureOutput: r.Output, spend.FigureCacheRead: r.CacheRead,
					spend.FigureCacheWrite5m: r.CacheCreation.Ephemeral5m, spend.FigureCacheWrite1h: r.CacheCreation.Ephemeral1h, spend.FigureSearches: r.ServerToolUse.WebSearches} {
					if n < 0 || n > maxUsageCount {
						return nil, false, fmt.Errorf("%s says %s %d of %s", day, figure, n, *r.Model)
					}
					u.Figures[figure] = schemas.SomeLong(n)
				}
				usage = append(usage, u)
			}
			if len(bucket.Results) == 0 { // a day without usage is a day of the export
				usage = append(usage, spend.Usage{Day: day})
			}
		}
	}
}

// maxUsageCount is the most tokens of one line that are believed.
const maxUsageCount = 1 << 50

// usageColumns are those of the console's CSV that are compared.
var usageColumns = map[string]spend.Figure{
	"usage_input_tokens_no_cache":       spend.FigureInput,
	"usage_input_tokens_cache_read":     spend.FigureCacheRead,
	"usage_input_tokens_cache_write_5m": spend.FigureCacheWrite5m,
	"usage_input_tokens_cache_write_1h": spend.FigureCacheWrite1h,
	"usage_output_tokens":               spend.FigureOutput,
	"web_search_count":                  spend.FigureSearches,
}

// usageCSV reads the export of the console.
func usageCSV(text []byte) (usage []spend.Usage, err error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("want JSON of usage_report/messages, or the console's CSV: %w", err)
	}
	header = slices.Clone(header)
	day, model := slices.Index(header, "usage_date_utc"), slices.Index(header, "model_version")
	if day < 0 || model < 0 || !slices.Contains(header, "usage_input_tokens_no_cache") || !slices.Contains(header, "usage_output_tokens") {
		return nil, fmt.Errorf("want JSON of usage_report/messages, or the console's CSV with usage_date_utc, model_version, usage_input_tokens_no_cache, usage_output_tokens, ...; its first line is %q", strings.Join(header, ","))
	}
	for line := 2; ; line++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return usage, nil
		}
		if err != nil {
			return nil, err
		}
		date, _, _ := strings.Cut(record[day], "T")
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			return nil, fmt.Errorf("line %d: usage_date_utc is %q", line, record[day])
		}
		u := spend.Usage{Day: date, Model: record[model]}
		for i, column := range header {
			figure, ok := usageColumns[column]
			if !ok || record[i] == "" {
				continue
			}
			n, err := strconv.ParseInt(record[i], 10, 64)
			if err != nil || n < 0 || n > maxUsageCount {
				return nil, fmt.Errorf("line %d: %s is %q", line, column, record[i])
			}
			u.Figures[figure] = schemas.SomeLong(n)
		}
		usage = append(usage, u)
	}
}
