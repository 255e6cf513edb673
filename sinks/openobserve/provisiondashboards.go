package openobserve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/flightlog/flightlog/sinks/delivery"
)

// The folder that our dashboards are in, with the description that tells one
// that we made.
const (
	folderName = "Flightlog"
	folderMark = "Made by 'flightlog provision openobserve'."
)

// A dashboard of ours ends its description with a mark: what it is of, and the
// hash of the content that we gave it, by which edits of others show.
var markPattern = regexp.MustCompile(`\[flightlog (\S+) ([0-9a-f]{12})\]$`)

// folder is one of dashboards (contract §6.1).
type folder struct {
	ID          string `json:"folderId"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// findFolder finds ours; nil if it is not there.
func (p *provisioner) findFolder(ctx context.Context) (*folder, error) {
	found := new(folder)
	a, err := p.call(ctx, http.MethodGet, p.foldersPath("/name/"+url.PathEscape(folderName)), nil, nil, found)
	if a != nil && a.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (p *provisioner) foldersPath(rest string) string {
	return "/api/v2/" + url.PathEscape(p.client.config.Org) + "/folders/dashboards" + rest
}

// folder makes the folder that is not there. One that somebody made is used as
// it is.
func (p *provisioner) folder(ctx context.Context) ([]Change, error) {
	found, err := p.findFolder(ctx)
	if err != nil || found != nil {
		return nil, err
	}
	return []Change{{Action: Create, Object: "folder", Name: folderName, make: func(ctx context.Context) ([]Change, error) {
		a, err := p.call(ctx, http.MethodPost, p.foldersPath(""), nil, folder{Name: folderName, Description: folderMark}, nil)
		if a != nil && a.status == http.StatusBadRequest && strings.Contains(string(a.body), "already exists") {
			err = nil // another process was faster
		}
		return nil, err
	}}}, nil
}

// wanted is a dashboard as it should be on this server.
type wanted struct {
	content map[string]any
	title   string
	of      string // what the mark says that it is of
}

// wanted reads a file: it gets the names of this config's streams, a title that
// tells them, and the mark.
func (p *provisioner) wanted(file []byte) (*wanted, error) {
	var content map[string]any
	if err := json.Unmarshal(file, &content); err != nil {
		return nil, fmt.Errorf("cannot read a dashboard: %w", err)
	}
	title, _ := content["title"].(string)
	if title == "" {
		return nil, errors.New("cannot read a dashboard: it has no title")
	}
	config := &p.client.config
	names := map[string]string{}
	for _, topic := range delivery.Topics {
		names[(&Config{}).StreamName(topic)] = config.StreamName(topic)
	}
	content, _ = renamed(content, names).(map[string]any) // a map it was
	var tells []string
	if config.Streams != DefaultStreams {
		tells = append(tells, config.Streams)
	}
	if config.Generation > 1 {
		tells = append(tells, fmt.Sprintf("g%d", config.Generation))
	}
	w := &wanted{content: content, title: title, of: fmt.Sprintf("%s/g%d/%s", config.Streams, config.Generation, slug(title))}
	if len(tells) > 0 {
		w.title += " (" + strings.Join(tells, ", ") + ")"
	}
	content["title"] = w.title
	description, _ := content["description"].(string)
	content["description"] = strings.TrimSpace(fmt.Sprintf("%s What is changed here is changed back by 'flightlog provision openobserve': copy the dashboard instead. [flightlog %s %s]",
		description, w.of, contentHash(content)))
	return w, nil
}

func slug(title string) string { return strings.ReplaceAll(strings.ToLower(title), " ", "-") }

// renamed is a value with the names of streams replaced: where a text is one, and
// where it holds one in double quotes, as SQL does.
func renamed(v any, names map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = renamed(value, names)
		}
	case []any:
		for i, value := range v {
			v[i] = renamed(value, names)
		}
	case string:
		if name, ok := names[v]; ok {
			return name
		}
		var pairs []string
		for from, to := range names {
			pairs = append(pairs, strconv.Quote(from), strconv.Quote(to))
		}
		return strings.NewReplacer(pairs...).Replace(v)
	}
	return v
}

// contentHash is that of what a dashboard shows, in the form in which it is compared.
func contentHash(content map[string]any) string {
	members := shown(content)
	delete(members, "description")
	text, err := json.Marshal(members) // keys in order
	if err != nil {
		panic(err) // it was read from JSON
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%x", sum[:6])
}

// stored is a dashboard as the server has it.
type stored struct {
	id, folder string
	hash       string // of the server: a PUT names the one that it replaces
	content    map[string]any
}

// mark is what the dashboard's mark says; ok tells that it bears one.
func (d *stored) mark() (of, hash string, ok bool) {
	description, _ := d.content["description"].(string)
	m := markPattern.FindStringSubmatch(description)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// findDashboards finds those of exactly this title in the folder: ours, by their
// mark, and those of others.
func (p *provisioner) findDashboards(ctx context.Context, in *folder, w *wanted) (ours, others []*stored, err error) {
	var list struct {
		Dashboards []struct {
			ID    string `json:"dashboard_id"`
			Title string `json:"title"`
		} `json:"dashboards"`
	}
	if _, err := p.call(ctx, http.MethodGet, p.dashboardsPath(""), url.Values{"folder": {in.ID}, "title": {w.title}}, nil, &list); err != nil {
		return nil, nil, err
	}
	for _, listed := range list.Dashboards {
		if listed.Title != w.title { // the server looks for a part of it
			continue
		}
		d, err := p.showDashboard(ctx, in, listed.ID)
		if err != nil {
			return nil, nil, err
		}
		if of, _, ok := d.mark(); ok && of == w.of {
			ours = append(ours, d)
		} else {
			others = append(others, d)
		}
	}
	return ours, others, nil
}

func (p *provisioner) dashboardsPath(id string) string {
	if id != "" {
		id = "/" + url.PathEscape(id)
	}
	return p.client.org("/dashboards" + id)
}

func (p *provisioner) showDashboard(ctx context.Context, in *folder, id string) (*stored, error) {
	d := &stored{id: id, folder: in.ID}
	a, err := p.call(ctx, http.MethodGet, p.dashboardsPath(id), nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return d, d.read(a)
}

// read takes content and hash from an answer; the content stands in the member of
// its version, the others are null.
func (d *stored) read(a *answer) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &members); err != nil {
		return fmt.Errorf("cannot read a dashboard: %w", err)
	}
	d.content = nil
	for key, value := range members {
		if strings.HasPrefix(key, "v") && bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) {
			if err := json.Unmarshal(value, &d.content); err != nil {
				return fmt.Errorf("cannot read a dashboard: %w", err)
			}
		}
	}
	if d.content == nil {
		return fmt.Errorf("an answer with no dashboard in it: %.200q", a.body)
	}
	if d.id == "" {
		d.id, _ = d.content["dashboardId"].(string)
	}
	var hash any
	if err := json.Unmarshal(members["hash"], &hash); err != nil {
		return fmt.Errorf("a dashboard without a hash: %w", err)
	}
	d.hash = fmt.Sprint(hash)
	return nil
}

// dashboard compares a dashboard with its file.
func (p *provisioner) dashboard(ctx context.Context, file []byte) ([]Change, error) {
	w, err := p.wanted(file)
	if err != nil {
		return nil, err
	}
	in, err := p.findFolder(ctx)
	if err != nil {
		return nil, err
	}
	create := Change{Action: Create, Object: "dashboard", Name: w.title, Says: fmt.Sprintf("%d panels", len(panels(w.content))),
		make: func(ctx context.Context) ([]Change, error) { return p.createDashboard(ctx, w) }}
	if in == nil {
		return []Change{create}, nil
	}
	ours, others, err := p.findDashboards(ctx, in, w)
	switch {
	case err != nil:
		return nil, err
	case len(ours) > 0:
		changes := p.updateDashboard(w, ours[0], false)
		if len(ours) > 1 {
			changes = append(changes, Change{Action: Note, Object: "dashboard", Name: w.title,
				Says: fmt.Sprintf("it is there %d times, as two runs at once make it; only the first is kept up: delete the others, or --remove all and provision again", len(ours))})
		}
		return changes, nil
	case len(others) > 0:
		return []Change{{Action: Problem, Object: "dashboard", Name: w.title, Says: fmt.Sprintf(
			"the folder %s holds one of this title that was not made by 'flightlog provision openobserve' (it bears no mark of it): it is left alone. Rename it, and run this again", folderName)}}, nil
	}
	return []Change{create}, nil
}

// panels are the panels of all tabs.
func panels(content map[string]any) (all []any) {
	tabs, _ := content["tabs"].([]any)
	for _, tab := range tabs {
		tab, _ := tab.(map[string]any)
		inTab, _ := tab["panels"].([]any)
		all = append(all, inTab...)
	}
	return all
}

func (p *provisioner) createDashboard(ctx context.Context, w *wanted) ([]Change, error) {
	in, err := p.findFolder(ctx)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, fmt.Errorf("the folder %s is gone", folderName)
	}
	a, err := p.call(ctx, http.MethodPost, p.dashboardsPath(""), url.Values{"folder": {in.ID}}, w.content, nil)
	if err != nil {
		return nil, err
	}
	return kept(a, w)
}

// updateDashboard brings a dashboard of ours back to its file; no change where
// it is as it should be. Who edits it at the same time makes the server refuse
// (409): then it is compared and shown again, and tried once more.
func (p *provisioner) updateDashboard(w *wanted, d *stored, again bool) []Change {
	diff := differences(d.content, w.content)
	if len(diff) == 0 {
		return nil
	}
	says := "to what this release has"
	if _, hash, _ := d.mark(); hash != contentHash(d.content) {
		says = "somebody has edited it since it was provisioned; this is taken back"
	}
	return []Change{{Action: Update, Object: "dashboard", Name: w.title, Says: says, Diff: diff, make: func(ctx context.Context) ([]Change, error) {
		body := map[string]any{"dashboardId": d.id}
		for key, value := range w.content {
			body[key] = value
		}
		a, err := p.call(ctx, http.MethodPut, p.dashboardsPath(d.id), url.Values{"folder": {d.folder}, "hash": {d.hash}}, body, nil)
		if a != nil && a.status == http.StatusConflict && !again {
			now, err := p.showDashboard(ctx, &folder{ID: d.folder}, d.id)
			if err != nil {
				return nil, err
			}
			return p.updateDashboard(w, now, true), nil
		}
		if err != nil {
			return nil, err
		}
		return kept(a, w)
	}}}
}

// kept compares what the server says that it has stored with what it was given:
// it drops what it does not know without a word (contract §6.1).
func kept(a *answer, w *wanted) ([]Change, error) {
	var d stored
	if err := d.read(a); err != nil {
		return nil, err
	}
	diff := differences(w.content, d.content)
	if len(diff) == 0 {
		return nil, nil
	}
	return []Change{{Action: Note, Object: "dashboard", Name: w.title, Says: "this server does not keep all of it as it was given", Diff: diff}}, nil
}
