package openobserve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/flightlog/flightlog/sinks/delivery"
)

// DefaultRetentionDays is how long a stream keeps its rows.
const DefaultRetentionDays = 400

// topicsKeep is how long the public topics keep rows unless they were provisioned
// otherwise: a sink that was away for so long has rows of that age to load.
const topicsKeep = 45 * 24 * time.Hour

// Layout is what stands in OpenObserve for an installation.
type Layout struct {
	// Topics that have a stream; default delivery.Topics.
	Topics []string
	// RetentionDays is how long streams keep rows. 0 makes new ones with
	// DefaultRetentionDays and raises what is shorter, but never shortens what
	// is there: rows would be lost that nobody gave up.
	RetentionDays int
	// Dashboards are files as they stand in deploy/openobserve/dashboards, with
	// the names of streams that a default Config has.
	Dashboards [][]byte
	// PasscodeFile, where it is set, is made to hold the ingestion passcode of
	// the admin account, with mode 0600.
	PasscodeFile string
}

// Action is what a Change does.
type Action string

// Actions. A Note does nothing: it says what one should know. A Problem is what
// stands in the way of the layout and cannot be put right from here.
const (
	Create  Action = "create"
	Update  Action = "change"
	Delete  Action = "delete"
	Note    Action = "note"
	Problem Action = "problem"
)

// Change is one thing that Provision or Remove does, or has to say.
type Change struct {
	Action Action `json:"action"`
	Object string `json:"object"` // stream, folder, dashboard, window, passcode file
	Name   string `json:"name,omitempty"`
	Says   string `json:"says,omitempty"`
	// Diff is how what is there differs from what should be, one line for each
	// place.
	Diff []string `json:"diff,omitempty"`

	make step
}

// Makes tells whether it changes anything.
func (c *Change) Makes() bool { return c.make != nil }

// String is the change in one line, with the lines of its diff indented below.
func (c Change) String() string {
	what := strings.TrimSpace(c.Object + " " + c.Name)
	line := string(c.Action) + " " + what
	if !c.Makes() {
		line = string(c.Action) + ": " + what
	}
	if c.Says != "" {
		line += ": " + c.Says
	}
	return strings.Join(append([]string{line}, c.Diff...), "\n    ")
}

// ErrProblems: something stands in the way of the layout; the Changes said what.
var ErrProblems = errors.New("not all of it stands as it should")

// step finds out what has to be done, or does it and finds out what follows.
type step func(ctx context.Context) ([]Change, error)

// provisioner compares a server with a layout.
type provisioner struct {
	client *Client
	layout Layout
}

// Plan is what Provision would do. It changes nothing: it asks, and probes the
// window with a row that the server must refuse.
func Plan(ctx context.Context, config Config, layout Layout) ([]Change, error) {
	return listed(func(show func(Change)) error {
		return run(ctx, config, layout, (*provisioner).steps, false, show)
	})
}

// Provision makes streams, folder and dashboards, and brings what is there up to
// the layout; run again it changes nothing. Each change is shown, with its diff,
// before it is made. What it did not make is left alone: a dashboard of the same
// title that bears no mark of ours is a Problem. It goes on after a Problem and
// ends with ErrProblems then.
func Provision(ctx context.Context, config Config, layout Layout, show func(Change)) error {
	return run(ctx, config, layout, (*provisioner).steps, true, show)
}

// PlanRemoval is what Remove would do.
func PlanRemoval(ctx context.Context, config Config, layout Layout, withData bool) ([]Change, error) {
	return listed(func(show func(Change)) error {
		return run(ctx, config, layout, removal(withData), false, show)
	})
}

// Remove takes away what Provision made and nothing else: the dashboards that
// bear our mark, the folder if it is ours and empty then, and withData the
// streams with all their rows.
func Remove(ctx context.Context, config Config, layout Layout, withData bool, show func(Change)) error {
	return run(ctx, config, layout, removal(withData), true, show)
}

func removal(withData bool) func(*provisioner) []step {
	return func(p *provisioner) []step { return p.removalSteps(withData) }
}

// listed collects what is shown, problems among it.
func listed(run func(show func(Change)) error) (changes []Change, err error) {
	err = run(func(c Change) { changes = append(changes, c) })
	if errors.Is(err, ErrProblems) {
		err = nil
	}
	return changes, err
}

// run shows every change of the steps in their order, and makes it if it is told
// to, with what follows from it. A step is asked when the changes before it were
// made.
func run(ctx context.Context, config Config, layout Layout, steps func(*provisioner) []step, making bool, show func(Change)) error {
	p, err := newProvisioner(config, layout)
	if err != nil {
		return err
	}
	defer p.client.Close()
	problems := false
	var each func(c Change) error
	all := func(changes []Change, err error) error {
		for i := 0; i < len(changes) && err == nil; i++ {
			err = each(changes[i])
		}
		return err
	}
	each = func(c Change) error {
		show(c)
		problems = problems || c.Action == Problem
		if !making || !c.Makes() {
			return nil
		}
		next, err := c.make(ctx)
		if err != nil {
			return fmt.Errorf("cannot %s %s %s: %w", c.Action, c.Object, c.Name, err)
		}
		return all(next, nil)
	}
	for _, s := range append([]step{p.reach}, steps(p)...) {
		if err := all(s(ctx)); err != nil {
			return fmt.Errorf("OpenObserve at %s: %w", p.client.config.URL, err)
		}
	}
	if problems {
		return ErrProblems
	}
	return nil
}

func newProvisioner(config Config, layout Layout) (*provisioner, error) {
	if !config.Admin.IsSet() {
		return nil, errors.New("cannot provision OpenObserve: admin_user: \"\": must be set, with a password from a file or from the environment")
	}
	if !config.Loading.IsSet() { // a password is good for everything that a passcode is good for (contract §0.3)
		config.Loading = config.Admin
	}
	if layout.Topics == nil {
		layout.Topics = delivery.Topics
	}
	for _, topic := range layout.Topics {
		if !slices.Contains(delivery.Topics, topic) {
			return nil, fmt.Errorf("cannot provision OpenObserve: topics: %s: must be of %s", topic, strings.Join(delivery.Topics, ", "))
		}
	}
	if layout.RetentionDays < 0 {
		return nil, fmt.Errorf("cannot provision OpenObserve: retention_days: %d: must be more than 0", layout.RetentionDays)
	}
	client, err := NewClient(config)
	if err != nil {
		return nil, err
	}
	return &provisioner{client, layout}, nil
}

// steps of Provision, in their order.
func (p *provisioner) steps() (all []step) {
	for _, topic := range p.layout.Topics {
		all = append(all, func(ctx context.Context) ([]Change, error) { return p.stream(ctx, topic) })
	}
	if len(p.layout.Dashboards) > 0 {
		all = append(all, p.folder)
	}
	for _, file := range p.layout.Dashboards {
		all = append(all, func(ctx context.Context) ([]Change, error) { return p.dashboard(ctx, file) })
	}
	return append(all, p.passcode, p.window)
}

// call is one exchange as the admin; in and out as in Client.call.
func (p *provisioner) call(ctx context.Context, method, path string, query url.Values, in, out any) (*answer, error) {
	return p.client.call(ctx, &p.client.config.Admin, method, path, query, in, out)
}

// reach finds out whether the server knows account and organisation, before
// anything is planned: for a stream that is not there and for an organisation
// that is not there it has the same status.
func (p *provisioner) reach(ctx context.Context) ([]Change, error) {
	config := &p.client.config
	a, err := p.call(ctx, http.MethodGet, p.client.org("/streams"), url.Values{"type": {"logs"}, "keyword": {config.Streams}, "limit": {"1"}}, nil, nil)
	switch {
	case a == nil:
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		err = fmt.Errorf("%w: check the account %s and its password (an ingestion passcode is not enough)", a.err(), config.Admin.User)
	case a.status == http.StatusNotFound:
		err = fmt.Errorf("%w: check the organisation %s and the URL", a.err(), config.Org)
	}
	return nil, err
}

// window says which rows the server takes, and how to make it take those that
// may come (DESIGN §8).
func (p *provisioner) window(ctx context.Context) ([]Change, error) {
	w, err := p.client.Window(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot find out how old rows may be: %w", err)
	}
	need := max(time.Duration(cmp.Or(p.layout.RetentionDays, DefaultRetentionDays))*24*time.Hour, topicsKeep)
	says := fmt.Sprintf("the server takes rows of up to %d h back and %d h ahead", hours(w.Back), hours(w.Ahead))
	if w.Back < need {
		says += fmt.Sprintf("; older ones become dead letters (%s), though topics and streams keep rows for up to %d h: start the server with ZO_INGEST_ALLOWED_UPTO=%d",
			OutsideWindow, hours(need), hours(need))
	}
	return []Change{{Action: Note, Object: "window", Says: says}}, nil
}

func hours(d time.Duration) int { return int(d.Hours()) }
