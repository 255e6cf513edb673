package detectors

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/flightlog/flightlog/schemas"
)

//go:embed defaults.yaml
var defaults []byte

// Rules are the thresholds of all places: defaults, and what differs by repo,
// workflow and work_kind. Safe for concurrent use.
type Rules struct {
	version   int64
	builtin   map[string]value
	defaults  map[string]value
	overrides []override
	settings  sync.Map // Settings by Place
}

// override is what differs where all of its patterns fit.
type override struct {
	name   string
	match  [3]pattern // repo, workflow, work_kind
	values map[string]value
}

// pattern is a glob; * stands for anything without a slash, ** for anything.
type pattern struct {
	text  string // "" fits everything
	exact bool
	re    *regexp.Regexp
}

// value is a setting as it stands in a file.
type value struct {
	text string
	list []string
	from string // where, for people
}

var builtin = sync.OnceValue(func() *Rules {
	r, err := Parse(nil, 1)
	if err != nil {
		panic(err)
	}
	return r
})

// Builtin are the rules that hold before any were applied, version 1.
func Builtin() *Rules { return builtin() }

// Defaults is the text of the built-in rules.
func Defaults() []byte { return slices.Clone(defaults) }

// Version is the number under which the rules were applied.
func (r *Rules) Version() int64 { return r.version }

// Parse reads rules.yaml. Every mistake is in the error, each on a line of its
// own with line and column.
func Parse(text []byte, version int64) (*Rules, error) {
	built := reading{}
	r := &Rules{version: version}
	r.builtin, _ = built.document(defaults, "built in")
	if len(built.faults) > 0 {
		return nil, built.faults[0]
	}
	own := reading{}
	r.defaults, r.overrides = own.document(text, "")
	own.classes(r)
	if len(own.faults) > 0 {
		slices.SortStableFunc(own.faults, func(a, b fault) int { return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column)) })
		var errs []error
		for _, f := range own.faults {
			errs = append(errs, f)
		}
		return nil, errors.Join(errs...)
	}
	return r, nil
}

type reading struct {
	faults []fault
	named  []*yaml.Node // classes of protected paths
}

// fault is a mistake, and where it is.
type fault struct {
	line, column int
	text         string
}

func (f fault) Error() string {
	if f.line == 0 {
		return f.text
	}
	return fmt.Sprintf("%d:%d: %s", f.line, f.column, f.text)
}

func (r *reading) fault(n *yaml.Node, format string, values ...any) {
	r.faults = append(r.faults, fault{n.Line, n.Column, fmt.Sprintf(format, values...)})
}

// classes tells classes of protected paths that are none of the built-in ones and
// have no paths anywhere.
func (r *reading) classes(rules *Rules) {
	has := func(path string) bool {
		return slices.ContainsFunc(append([]override{{values: rules.builtin}, {values: rules.defaults}}, rules.overrides...), func(o override) bool {
			_, ok := o.values[path]
			return ok
		})
	}
	var known []string
	for path := range rules.builtin {
		if name, setting, _ := strings.Cut(strings.TrimPrefix(path, "protected_path.classes."), "."); setting != "" && strings.HasPrefix(path, "protected_path.classes.") {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	for _, n := range r.named {
		if !slices.Contains(known, n.Value) && !has("protected_path.classes."+n.Value+".paths") {
			r.fault(n, "the class %s has no paths, and is none of the built-in ones (%s)", n.Value, strings.Join(known, ", "))
		}
	}
}

func (r *reading) document(text []byte, from string) (map[string]value, []override) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		r.faults = append(r.faults, fault{text: err.Error()})
		return nil, nil
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	values, overrides := map[string]value{}, []override(nil)
	r.mapping(doc.Content[0], "the rules", func(key, n *yaml.Node) {
		switch key.Value {
		case "defaults":
			r.values(n, "", from, "defaults", values)
		case "overrides":
			if n.Kind != yaml.SequenceNode {
				r.fault(n, "overrides must be a list")
				return
			}
			for i, o := range n.Content {
				overrides = append(overrides, r.override(o, i))
			}
		default:
			r.unknown(key, "", []string{"defaults", "overrides"})
		}
	})
	return values, overrides
}

// mapping calls each with the members of a mapping; a key that comes twice and
// what is no mapping are faults.
func (r *reading) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		r.fault(n, "%s must be names with values", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			r.fault(key, "%s stands here twice", key.Value)
			continue
		}
		seen[key.Value] = true
		each(key, n.Content[i+1])
	}
}

func (r *reading) override(n *yaml.Node, i int) override {
	o := override{name: fmt.Sprintf("override %d", i+1), values: map[string]value{}}
	var rest []*yaml.Node
	matched := false
	r.mapping(n, "an override", func(key, v *yaml.Node) {
		switch key.Value {
		case "name":
			o.name = v.Value
		case "match":
			r.mapping(v, "match", func(key, v *yaml.Node) {
				d := slices.Index([]string{"repo", "workflow", "work_kind"}, key.Value)
				matched = true // or it has a mistake of its own
				if d < 0 {
					r.unknown(key, "match.", []string{"repo", "workflow", "work_kind"})
					return
				}
				if v.Kind != yaml.ScalarNode || v.Value == "" {
					r.fault(v, "match.%s must be a name or pattern", key.Value)
					return
				}
				if _, ok := schemas.ParseWorkKind(v.Value); d == 2 && !ok && !strings.ContainsAny(v.Value, "*?") {
					r.fault(v, "%q is no kind of work (bugfix, feature, test, docs, migration, chore, unknown)", v.Value)
				}
				o.match[d] = patternOf(v.Value)
			})
		default:
			rest = append(rest, key, v)
		}
	})
	if !matched && n.Kind == yaml.MappingNode {
		r.fault(n, "%s fits everything: give match: {repo, workflow or work_kind}, or put it under defaults", o.name)
	}
	r.values(&yaml.Node{Kind: yaml.MappingNode, Content: rest, Line: n.Line, Column: n.Column}, "", "", o.name, o.values)
	return o
}

// values reads settings into a flat map by their path (loop.single).
func (r *reading) values(n *yaml.Node, prefix, from, of string, into map[string]value) {
	r.mapping(n, cmp.Or(strings.TrimSuffix(prefix, "."), of), func(key, v *yaml.Node) {
		path := prefix + key.Value
		if prefix == "protected_path.classes." && from == "" {
			r.named = append(r.named, key)
		}
		check, names := settingOf(path)
		switch {
		case check != nil:
			read := value{text: v.Value, from: from}
			if from == "" {
				read.from = fmt.Sprintf("%s, line %d", of, v.Line)
			}
			if v.Kind == yaml.SequenceNode {
				for _, item := range v.Content {
					if item.Kind != yaml.ScalarNode || item.Value == "" {
						r.fault(item, "%s: must be a text", path)
					}
					read.list = append(read.list, item.Value)
				}
			}
			if err := check(v, read); err != "" {
				r.fault(v, "%s: %s", path, err)
				return
			}
			into[path] = read
		case names != nil:
			r.values(v, path+".", from, of, into)
		default:
			_, names := settingOf(strings.TrimSuffix(prefix, "."))
			r.unknown(key, prefix, names)
		}
	})
}

func (r *reading) unknown(key *yaml.Node, prefix string, names []string) {
	hint := ""
	best := 3
	for _, name := range names {
		if d := distance(key.Value, name); d < best {
			best, hint = d, fmt.Sprintf(", did you mean %s?", name)
		}
	}
	if hint == "" && len(names) > 0 {
		hint = fmt.Sprintf(" (there are: %s)", strings.Join(names, ", "))
	}
	r.fault(key, "%s%s is no setting%s", prefix, key.Value, hint)
}

// distance is how many letters differ between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := last
			if a[i] != b[j] {
				next = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// check is what is wrong with a value, "" if nothing is.
type check func(n *yaml.Node, v value) string

var (
	isBool check = func(n *yaml.Node, _ value) string {
		if n.Tag != "!!bool" {
			return "must be true or false"
		}
		return ""
	}
	isSeverity check = func(n *yaml.Node, _ value) string {
		if _, ok := schemas.ParseSeverity(n.Value); !ok || n.Kind != yaml.ScalarNode {
			return fmt.Sprintf("%q is no severity (info, low, medium, high, critical)", n.Value)
		}
		return ""
	}
	isText_ check = func(n *yaml.Node, _ value) string {
		if n.Kind != yaml.ScalarNode || len(n.Value) > 256 {
			return "must be a text of at most 256 bytes"
		}
		return ""
	}
	isList check = func(n *yaml.Node, v value) string {
		if n.Kind != yaml.SequenceNode || len(v.list) > 256 {
			return "must be a list of at most 256 texts"
		}
		return ""
	}
)

func isCount(least, most int64) check {
	return func(n *yaml.Node, v value) string {
		if i, err := strconv.ParseInt(v.text, 10, 64); err != nil || n.Kind != yaml.ScalarNode || i < least || i > most {
			return fmt.Sprintf("%q must be a number from %d to %d", v.text, least, most)
		}
		return ""
	}
}

func isDuration(least, most time.Duration) check {
	return func(n *yaml.Node, v value) string {
		if d, err := time.ParseDuration(v.text); err != nil || n.Kind != yaml.ScalarNode || d < least || d > most {
			return fmt.Sprintf("%q must be a duration from %v to %v, such as 90s or 5m", v.text, least, most)
		}
		return ""
	}
}

// Kinds are all kinds of findings that rules are for, in order.
var Kinds = []string{RepeatedRetries, Loop, LongApproval, ProtectedPath, Secret, NetworkInstall, PermissionBypass, CriticalCommand,
	TestTamper, RedTests, FalseClaim, MissingTelemetry, UnpricedModel, SpendSpike, BudgetExceeded}

// own are settings that a kind has besides enabled and severity.
var own = map[string]map[string]check{
	RepeatedRetries:  {"attempts": isCount(2, 1000)},
	Loop:             {"single": isCount(2, 1000), "repetitions": isCount(2, 1000), "wait": isDuration(time.Second, 24*time.Hour)},
	LongApproval:     {"after": isDuration(time.Second, 7*24*time.Hour)},
	MissingTelemetry: {"after": isDuration(time.Second, 24*time.Hour)},
	CriticalCommand: {"commands": func(n *yaml.Node, v value) string {
		if err := isList(n, v); err != "" {
			return err
		}
		for _, c := range v.list {
			if words := strings.Fields(c); len(words) < 1 || len(words) > 2 || strings.ToLower(c) != c || strings.ContainsAny(c, "*?") || strings.HasPrefix(words[len(words)-1], "-") {
				return fmt.Sprintf("%q is no command: want a program and its subcommand as the column tool_target has them, such as terraform apply", c)
			}
		}
		return ""
	}},
	SpendSpike: {"factor": isCount(2, 1000), "floor_usd": isCount(0, 1_000_000), "samples": isCount(3, 28)},
	BudgetExceeded: {"budgets": func(n *yaml.Node, v value) string {
		if err := isList(n, v); err != "" {
			return err
		}
		for _, text := range v.list {
			if _, err := parseBudget(text); err != nil {
				return err.Error()
			}
		}
		return ""
	}},
	ProtectedPath: {},
}

// settingOf is the check of a setting, or the names below a path that is none.
func settingOf(path string) (check, []string) {
	parts := strings.Split(path, ".")
	kind := parts[0]
	switch {
	case path == "":
		return nil, append([]string{"owner"}, Kinds...)
	case path == "owner":
		return isText_, nil
	case !slices.Contains(Kinds, kind):
		return nil, nil
	case kind == ProtectedPath && len(parts) > 1 && parts[1] == "classes":
		of := map[string]check{"enabled": isBool, "severity": isSeverity, "paths": isList}
		if len(parts) < 4 {
			return nil, slices.Sorted(maps.Keys(of))
		}
		if len(parts) == 4 {
			return of[parts[3]], nil
		}
		return nil, nil
	case len(parts) == 1:
		names := append([]string{"enabled", "severity"}, slices.Sorted(maps.Keys(own[kind]))...)
		if kind == ProtectedPath {
			names = []string{"enabled", "classes"}
		}
		return nil, names
	case len(parts) > 2:
		return nil, nil
	case parts[1] == "enabled":
		return isBool, nil
	case parts[1] == "severity" && kind != ProtectedPath:
		return isSeverity, nil
	}
	return own[kind][parts[1]], nil
}

func patternOf(text string) pattern {
	p := pattern{text: text, exact: !strings.ContainsAny(text, "*?")}
	var re strings.Builder
	re.WriteString(`(?i)^`)
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "**/"):
			re.WriteString(`(?:.*/)?`)
			i += 2
		case strings.HasPrefix(text[i:], "**"):
			re.WriteString(`.*`)
			i++
		case text[i] == '*':
			re.WriteString(`[^/]*`)
		case text[i] == '?':
			re.WriteString(`[^/]`)
		default:
			re.WriteString(regexp.QuoteMeta(text[i : i+1]))
		}
	}
	re.WriteString(`$`)
	p.re = regexp.MustCompile(re.String())
	return p
}

func (p *pattern) fits(text string) bool { return p.text == "" || p.re.MatchString(text) }

// weight orders patterns: an exact name before a pattern, a longer pattern
// before a shorter one.
func (p *pattern) weight() int {
	switch {
	case p.text == "":
		return 0
	case p.exact:
		return 1 << 20
	}
	return 1 + len(strings.NewReplacer("*", "", "?", "").Replace(p.text))
}

// fitting are the overrides that hold at a place, the one that wins last: repo
// weighs more than workflow, that more than work_kind, and of equals the later in
// the file wins.
func (r *Rules) fitting(at Place) (all []*override) {
	for i := range r.overrides {
		o := &r.overrides[i]
		if o.match[0].fits(at.Repo) && o.match[1].fits(at.Workflow) && o.match[2].fits(at.WorkKind) {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *override) int {
		return cmp.Or(cmp.Compare(a.match[0].weight(), b.match[0].weight()), cmp.Compare(a.match[1].weight(), b.match[1].weight()),
			cmp.Compare(a.match[2].weight(), b.match[2].weight()))
	})
	return all
}

// Setting is a threshold in force at a place, and why.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// Explain gives every setting in force at a place and where it is from.
func (r *Rules) Explain(at Place) (all []Setting) {
	values := r.values(at)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name]
		text := v.text
		if v.list != nil {
			text = strings.Join(v.list, ", ")
		}
		all = append(all, Setting{name, text, v.from})
	}
	return all
}

func (r *Rules) values(at Place) map[string]value {
	values := maps.Clone(r.builtin)
	maps.Copy(values, r.defaults)
	for _, o := range r.fitting(at) {
		maps.Copy(values, o.values)
	}
	return values
}

// Settings are the thresholds of one place.
type Settings struct {
	Owner        string
	RulesVersion int64

	disabled  [16]bool
	severity  [16]schemas.Severity
	turnRules turnRules
	approval  int64 // µs
	telemetry int64 // µs
	spike     Spike
	budgets   []Budget
	classes   []pathClass
	commands  []string
}

type pathClass struct {
	name     string
	disabled bool
	severity schemas.Severity
	paths    []pattern
}

// maxPlaces bounds the places whose settings are kept parsed.
const maxPlaces = 10000

// For are the thresholds of a place.
func (r *Rules) For(at Place) *Settings {
	if s, ok := r.settings.Load(at); ok {
		return s.(*Settings)
	}
	s := r.resolve(at)
	n := 0
	r.settings.Range(func(any, any) bool { n++; return n < maxPlaces })
	if n >= maxPlaces {
		r.settings.Clear()
	}
	r.settings.Store(Place{strings.Clone(at.Repo), strings.Clone(at.Workflow), strings.Clone(at.WorkKind)}, s)
	return s
}

func (r *Rules) resolve(at Place) *Settings {
	values := r.values(at)
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(values[name].text, 10, 64)
		return n
	}
	duration := func(name string) int64 {
		d, _ := time.ParseDuration(values[name].text)
		return d.Microseconds()
	}
	s := &Settings{Owner: values["owner"].text, RulesVersion: r.version}
	s.turnRules = turnRules{number("repeated_retries.attempts"), number("loop.single"), number("loop.repetitions"), duration("loop.wait")}
	s.approval, s.telemetry = duration("long_approval.after"), duration("missing_telemetry.after")
	s.spike = Spike{Factor: number("spend_spike.factor"), FloorNanoUsd: number("spend_spike.floor_usd") * 1e9, Samples: int(number("spend_spike.samples"))}
	for _, text := range values["budget_exceeded.budgets"].list {
		if b, err := parseBudget(text); err == nil {
			s.budgets = append(s.budgets, b)
		}
	}
	s.commands = values["critical_command.commands"].list
	for i, kind := range Kinds {
		s.disabled[i] = values[kind+".enabled"].text == "false"
		s.severity[i], _ = schemas.ParseSeverity(values[kind+".severity"].text)
	}
	classes := map[string]*pathClass{}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		rest, ok := strings.CutPrefix(path, "protected_path.classes.")
		if !ok {
			continue
		}
		name, setting, _ := strings.Cut(rest, ".")
		c := classes[name]
		if c == nil {
			c = &pathClass{name: name, severity: schemas.SeverityHigh}
			classes[name] = c
		}
		switch v := values[path]; setting {
		case "enabled":
			c.disabled = v.text == "false"
		case "severity":
			c.severity, _ = schemas.ParseSeverity(v.text)
		case "paths":
			for _, p := range v.list {
				c.paths = append(c.paths, patternOf(p))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		s.classes = append(s.classes, *classes[name])
	}
	return s
}

// Enabled tells that a kind is looked for.
func (s *Settings) Enabled(kind string) bool {
	i := slices.Index(Kinds, kind)
	return i < 0 || !s.disabled[i]
}

// severityOf is the severity that the rules give a kind, else the finding's own.
func (s *Settings) severityOf(f *Finding) schemas.Severity {
	if i := slices.Index(Kinds, f.Kind); i >= 0 && s.severity[i] != schemas.SeverityInfo && f.Kind != TestTamper {
		return s.severity[i]
	}
	return f.Severity
}

// ApprovalAfter is how long a permission request may be open, µs.
func (s *Settings) ApprovalAfter() int64 { return s.approval }

// TelemetryAfter is how long after a session's end its witnesses may be late, µs.
func (s *Settings) TelemetryAfter() int64 { return s.telemetry }

// classOf is the class of a path: one of the rules' own, else the one that the
// producer found; "" if it is not protected.
func (s *Settings) classOf(path, found string) (class string, severity schemas.Severity) {
	for i := range s.classes {
		c := &s.classes[i]
		if c.name == found && len(c.paths) == 0 || slices.ContainsFunc(c.paths, func(p pattern) bool { return p.fits(path) }) {
			if c.disabled {
				return "", 0
			}
			return c.name, c.severity
		}
	}
	if found != "" {
		return found, schemas.SeverityMedium
	}
	return "", 0
}
