package o2test

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// newestVersion is that of a dashboard which does not say one.
const newestVersion = 8

// dashboard is one as it is stored.
type dashboard struct {
	id      string
	version int
	created string
	owner   string
	content json.RawMessage
}

// hash changes with the content: who changes a dashboard names the one that he
// has seen (contract §6.1).
func (d *dashboard) hash() string {
	sum := fnv.New64a()
	_, _ = sum.Write(d.content)
	return strconv.FormatUint(sum.Sum64()>>1, 10)
}

// versions are the members of an answer that hold the content: all but one are null.
type versions struct {
	V1 json.RawMessage `json:"v1"`
	V2 json.RawMessage `json:"v2"`
	V3 json.RawMessage `json:"v3"`
	V4 json.RawMessage `json:"v4"`
	V5 json.RawMessage `json:"v5"`
	V6 json.RawMessage `json:"v6"`
	V7 json.RawMessage `json:"v7"`
	V8 json.RawMessage `json:"v8"`
}

func (d *dashboard) versions() (v versions) {
	all := []*json.RawMessage{&v.V1, &v.V2, &v.V3, &v.V4, &v.V5, &v.V6, &v.V7, &v.V8}
	*all[d.version-1] = d.content
	return v
}

type dashboardAnswer struct {
	versions
	Version   int    `json:"version"`
	Hash      string `json:"hash"`
	UpdatedAt int64  `json:"updatedAt"`
}

func (d *dashboard) answer() dashboardAnswer {
	return dashboardAnswer{d.versions(), d.version, d.hash(), 0}
}

type dashboardListed struct {
	versions
	Version     int    `json:"version"`
	Hash        string `json:"hash"`
	FolderID    string `json:"folder_id"`
	FolderName  string `json:"folder_name"`
	DashboardID string `json:"dashboard_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Role        string `json:"role"`
	Owner       string `json:"owner"`
	Created     string `json:"created"`
	UpdatedAt   int64  `json:"updatedAt"`
}

func (d *dashboard) listed(f *folder) dashboardListed {
	text := func(key string) string { return gjson.GetBytes(d.content, key).String() }
	return dashboardListed{d.versions(), d.version, d.hash(), f.ID, f.Name, d.id, text("title"), text("description"), text("role"), d.owner, d.created, 0}
}

var (
	noDashboard  = said(http.StatusNotFound, "Dashboard not found")
	errNoTitle   = errors.New("Dashboard should have title") //nolint:staticcheck // the words of the server
	staleMessage = "Conflict: Failed to save due to concurrent changes. Please refresh the page after backing up your work to avoid losing changes."
)

// readDashboard reads the body of a request. When it is no dashboard it is answered.
func (q *request) readDashboard() (raw json.RawMessage, version int, ok bool) {
	if !q.decode(&raw) {
		return nil, 0, false
	}
	version = newestVersion
	if v := gjson.GetBytes(raw, "version"); v.Exists() {
		version = int(v.Int())
	}
	if version < 1 || version > newestVersion {
		q.text(http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: unsupported dashboard version")
		return nil, 0, false
	}
	if version == newestVersion {
		if err := checkShape(raw); err != nil {
			q.text(http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: "+err.Error())
			return nil, 0, false
		}
	}
	return raw, version, true
}

// save makes the content of a dashboard. Of version 8, members that the server
// does not know are dropped without a word (contract §6.1); older ones are kept
// as they are.
func (d *dashboard) save(raw json.RawMessage, version int) error {
	if strings.TrimSpace(gjson.GetBytes(raw, "title").String()) == "" {
		return errNoTitle
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	for key, value := range map[string]any{"version": version, "dashboardId": d.id, "owner": d.owner, "created": d.created} {
		members[key] = json.RawMessage(jsonText(value))
	}
	if members["role"] == nil {
		members["role"] = json.RawMessage(`""`)
	}
	content, err := appendJSON(nil, members)
	if err != nil {
		return err
	}
	if version == newestVersion {
		content = known(content)
	}
	d.version, d.content = version, bytes.Clone(content)
	return nil
}

func (q *request) createDashboard() {
	raw, version, ok := q.readDashboard()
	if !ok {
		return
	}
	q.locked(func(s *Server, org string) reply {
		f := s.folder(org, q.param("folder"))
		if f == nil {
			return noFolder
		}
		d := &dashboard{id: s.nextID(), owner: q.user, created: s.now().UTC().Format(time.RFC3339Nano)}
		if err := d.save(raw, version); err != nil {
			return said(http.StatusInternalServerError, err.Error())
		}
		f.dashboards = append(f.dashboards, d)
		return reply{http.StatusOK, d.answer()}
	})
}

// dashboardOf finds the dashboard of a path, and its folder. The caller holds s.mu.
func (s *Server) dashboardOf(org, id string) (*folder, *dashboard) {
	for _, f := range s.folders {
		for _, d := range f.dashboards {
			if f.org == org && d.id == id {
				return f, d
			}
		}
	}
	return nil, nil
}

func (q *request) showDashboard() {
	q.locked(func(s *Server, org string) reply {
		_, d := s.dashboardOf(org, q.vars["id"])
		if d == nil {
			return noDashboard
		}
		return reply{http.StatusOK, d.answer()}
	})
}

// changeDashboard needs the hash of what is stored.
func (q *request) changeDashboard() {
	raw, version, ok := q.readDashboard()
	if !ok {
		return
	}
	q.locked(func(s *Server, org string) reply {
		f := s.folder(org, q.param("folder"))
		if f == nil {
			return noFolder
		}
		in, d := s.dashboardOf(org, q.vars["id"])
		switch {
		case d == nil || in != f:
			return said(http.StatusInternalServerError, "Dashboard not found")
		case q.param("hash") == "":
			return said(http.StatusInternalServerError, "Dashboard update needs a hash")
		case q.param("hash") != d.hash():
			return said(http.StatusConflict, staleMessage)
		}
		d.created = s.now().UTC().Format(time.RFC3339Nano) // as seen
		if err := d.save(raw, version); err != nil {
			return said(http.StatusInternalServerError, err.Error())
		}
		return reply{http.StatusOK, d.answer()}
	})
}

func (q *request) deleteDashboard() {
	q.locked(func(s *Server, org string) reply {
		f, d := s.dashboardOf(org, q.vars["id"])
		if d == nil {
			return noDashboard
		}
		f.dashboards = slices.DeleteFunc(f.dashboards, func(other *dashboard) bool { return other == d })
		return said(http.StatusOK, "Dashboard deleted")
	})
}

// listDashboards lists those of a folder, or of all, whose title has a text in it.
func (q *request) listDashboards() {
	q.locked(func(s *Server, org string) reply {
		a := struct {
			Dashboards []dashboardListed `json:"dashboards"`
		}{[]dashboardListed{}}
		wanted, title := q.param("folder"), strings.ToLower(q.param("title"))
		if wanted != "" && s.folder(org, wanted) == nil {
			return noFolder
		}
		for _, f := range s.folders {
			if f.org != org || wanted != "" && f.ID != wanted {
				continue
			}
			for _, d := range f.dashboards {
				if l := d.listed(f); strings.Contains(strings.ToLower(l.Title), title) {
					a.Dashboards = append(a.Dashboards, l)
				}
			}
		}
		if n, err := strconv.Atoi(q.param("pageSize")); err == nil && n > 0 {
			a.Dashboards = a.Dashboards[:min(n, len(a.Dashboards))]
		}
		return reply{http.StatusOK, a}
	})
}
