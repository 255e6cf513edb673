package openobserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// removalSteps of Remove, in their order.
func (p *provisioner) removalSteps(withData bool) (all []step) {
	gone := map[string]bool{} // dashboards by id
	for _, file := range p.layout.Dashboards {
		all = append(all, func(ctx context.Context) ([]Change, error) { return p.removeDashboards(ctx, file, gone) })
	}
	all = append(all, func(ctx context.Context) ([]Change, error) { return p.removeFolder(ctx, gone) })
	for _, topic := range p.layout.Topics {
		all = append(all, func(ctx context.Context) ([]Change, error) { return p.removeStream(ctx, topic, withData) })
	}
	return all
}

// removeDashboards takes away those of a file that bear our mark, also when they
// were edited.
func (p *provisioner) removeDashboards(ctx context.Context, file []byte, gone map[string]bool) ([]Change, error) {
	w, err := p.wanted(file)
	if err != nil {
		return nil, err
	}
	in, err := p.findFolder(ctx)
	if err != nil || in == nil {
		return nil, err
	}
	ours, others, err := p.findDashboards(ctx, in, w)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, d := range ours {
		gone[d.id] = true
		changes = append(changes, Change{Action: Delete, Object: "dashboard", Name: w.title, make: func(ctx context.Context) ([]Change, error) {
			return nil, p.delete(ctx, p.dashboardsPath(d.id), url.Values{"folder": {d.folder}})
		}})
	}
	if len(others) > 0 {
		changes = append(changes, Change{Action: Note, Object: "dashboard", Name: w.title,
			Says: "one of this title was not made by 'flightlog provision openobserve': it is left alone"})
	}
	return changes, nil
}

// removeFolder takes the folder away if it is ours and holds nothing else.
func (p *provisioner) removeFolder(ctx context.Context, gone map[string]bool) ([]Change, error) {
	in, err := p.findFolder(ctx)
	if err != nil || in == nil {
		return nil, err
	}
	left := Change{Action: Note, Object: "folder", Name: folderName}
	if in.Description != folderMark {
		left.Says = "it was not made by 'flightlog provision openobserve': it is left alone"
		return []Change{left}, nil
	}
	var list struct {
		Dashboards []struct {
			ID string `json:"dashboard_id"`
		} `json:"dashboards"`
	}
	if _, err := p.call(ctx, http.MethodGet, p.dashboardsPath(""), url.Values{"folder": {in.ID}}, nil, &list); err != nil {
		return nil, err
	}
	others := 0
	for _, d := range list.Dashboards {
		if !gone[d.ID] {
			others++
		}
	}
	if others > 0 {
		left.Says = fmt.Sprintf("it holds %d dashboards besides: it stays", others)
		return []Change{left}, nil
	}
	return []Change{{Action: Delete, Object: "folder", Name: folderName, make: func(ctx context.Context) ([]Change, error) {
		return nil, p.delete(ctx, p.foldersPath("/"+url.PathEscape(in.ID)), nil)
	}}}, nil
}

// removeStream takes a stream away with all its rows. Only one that was
// provisioned has the column extra. Alerts and pipelines that somebody has put
// on it are not ours: they stay (no delete_all).
func (p *provisioner) removeStream(ctx context.Context, topic string, withData bool) ([]Change, error) {
	name := p.client.config.StreamName(topic)
	have, err := p.client.stream(ctx, name)
	if errors.Is(err, ErrNoStream) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	change := Change{Action: Note, Object: "stream", Name: name}
	for _, c := range []string{"row_id", batchColumn, extraColumn} {
		if !slices.ContainsFunc(have.Schema, func(h Column) bool { return h.Name == c }) {
			change.Says = fmt.Sprintf("it was not made by 'flightlog provision openobserve' (it has no column %s): it is left alone", c)
			return []Change{change}, nil
		}
	}
	if !withData {
		change.Says = "it stays, with its rows (--with-data would delete both)"
		return []Change{change}, nil
	}
	change.Action, change.Says = Delete, "with all its rows"
	change.make = func(ctx context.Context) ([]Change, error) {
		return nil, p.delete(ctx, p.streamPath(name, ""), url.Values{"type": {"logs"}})
	}
	return []Change{change}, nil
}

// delete takes something away; that it is gone already is no error.
func (p *provisioner) delete(ctx context.Context, path string, query url.Values) error {
	a, err := p.call(ctx, http.MethodDelete, path, query, nil, nil)
	if a != nil && a.status == http.StatusNotFound {
		return nil
	}
	return err
}
