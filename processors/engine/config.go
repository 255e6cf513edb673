package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Rules, prices and the directory are not read from files: they are versions
// in the topic config, and a control record in the critical lane of every input
// partition says from which append time on one holds (DESIGN §5). So a replay
// folds every event by the version that it was folded by first.

// Kinds of configuration.
var configKinds = []string{"rules", "prices", "directory"}

// configLead is how far ahead a version takes effect, so that its pointers are
// in every partition before.
const configLead = 60e6

// MaxConfig is the cap of a text in its schema, bytes.
const MaxConfig = 896 << 10

// ApplyConfig stores a text as the next version of a kind (rules, prices or
// directory), in force 60 s after now (µs; the caller's clock), and points every input
// partition to it. Applied again, the same text as the newest version only
// writes the pointers again, so that a call that failed half way can be
// repeated. It returns the version, and with the error the partitions that
// were missed.
func ApplyConfig(ctx context.Context, b broker.Broker, kind string, text []byte, by string, now int64) (version int64, missed []int, err error) {
	known := false
	for _, k := range configKinds {
		known = known || k == kind
	}
	if !known {
		return 0, nil, fmt.Errorf("cannot apply %q: no kind of configuration (%v)", kind, configKinds)
	}
	newest := schemas.Config{Kind: kind, Version: 1}
	if err := Configs(ctx, b, func(c *schemas.Config) {
		if c.Kind == kind && c.Version > newest.Version {
			newest = *c
		}
	}); err != nil {
		return 0, nil, fmt.Errorf("cannot apply %s: %w", kind, err)
	}
	hash := schemas.TextHash(text)
	if newest.Hash != hash {
		newest = schemas.Config{Kind: kind, Version: newest.Version + 1, Hash: hash, EffectiveAt: now + configLead, AppliedBy: by, Text: text}
		if len(text) == 0 || len(text) > MaxConfig {
			return 0, nil, fmt.Errorf("cannot apply %s: %d bytes, must be 1 to %d", kind, len(text), MaxConfig)
		}
		if _, err := b.Append(ctx, broker.Log{Topic: broker.Config}, newest.AppendMessage(nil)); err != nil {
			return 0, nil, fmt.Errorf("cannot apply %s: %w", kind, err)
		}
		c := configs{broker: b}
		if err := c.load(ctx, kind, newest.Version, hash); err != nil {
			return 0, nil, fmt.Errorf("somebody else has applied another text at the same time, look at it first: %w", err)
		}
	}
	pointer := schemas.Control{Type: schemas.ControlTypeConfig, ConfigKind: kind, ConfigVersion: newest.Version,
		ConfigHash: newest.Hash, EffectiveAt: newest.EffectiveAt}
	for _, input := range inputs {
		_, m, told := tellAll(ctx, b, input, &pointer)
		missed, err = append(missed, m...), errors.Join(err, told)
	}
	if err != nil {
		return newest.Version, missed, fmt.Errorf("cannot point partitions %v to version %d of %s: %w", missed, newest.Version, kind, err)
	}
	return newest.Version, nil, nil
}

// Configs calls each with every version of every kind, oldest first. Where two
// texts were applied at once under one number, the first stands.
func Configs(ctx context.Context, b broker.Broker, each func(*schemas.Config)) error {
	return broker.Scan(ctx, b, broker.Log{Topic: broker.Config}, func(m broker.Message) error {
		var c schemas.Config
		if err := c.DecodeMessage(m.Payload); err != nil {
			return fmt.Errorf("position %d: %w", m.Position, err)
		}
		each(&c)
		return nil
	})
}

// configs are the texts that the partitions of a worker fold by. Safe for
// concurrent use.
type configs struct {
	broker broker.Broker
	mu     sync.RWMutex
	texts  map[pointer][]byte // by kind and version
	known  []schemas.Control  // what stands in the topic up to end
	end    uint64
}

// text of a version that was loaded.
func (c *configs) text(kind string, version int64) []byte {
	if c == nil {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.texts[pointer{kind: kind, version: version}]
}

// errNoConfig tells of a pointer to a version that the topic config does not
// hold with that hash.
var errNoConfig = errors.New("the topic config holds no such version")

// Restate asks the owner of every partition for signed corrections (see
// [Restatement]); the version must have taken effect. It returns where each
// partition has the request in the critical lane of its input, 0 where it was
// missed, which is an error; asked again, nothing is said twice. Of the same
// request at two times the later one counts.
func Restate(ctx context.Context, b broker.Broker, r Restatement) (positions []uint64, err error) {
	if r.Reason == "" || r.Asked <= 0 {
		return nil, errors.New("cannot restate without a reason and the time at which it is asked for")
	}
	if r.Version <= 1 {
		return nil, fmt.Errorf("cannot restate by version %d of %s: %w", r.Version, r.Kind, errNoConfig)
	}
	c := configs{broker: b}
	if err := c.load(ctx, r.Kind, r.Version, ""); err != nil {
		return nil, err
	}
	control := schemas.Control{Type: schemas.ControlTypeRestate, ConfigKind: r.Kind, ConfigVersion: r.Version, Since: r.Since, Reason: r.Reason, EffectiveAt: r.Asked}
	control.Cap()
	positions, missed, err := tellAll(ctx, b, broker.Events, &control)
	if err != nil {
		err = fmt.Errorf("cannot tell partitions %v to restate: %w", missed, err)
	}
	return positions, err
}

// tellAll appends a control record to the critical lane of every partition of an
// input.
func tellAll(ctx context.Context, b broker.Broker, input string, c *schemas.Control) (positions []uint64, missed []int, err error) {
	n, err := b.Partitions(ctx)
	if err != nil {
		return nil, nil, err
	}
	positions = make([]uint64, n)
	var errs []error
	for p := range positions {
		var err error
		if positions[p], err = b.Append(ctx, broker.Log{Topic: input, Partition: p, Lane: schemas.LaneCritical}, c.AppendMessage(nil)); err != nil {
			missed = append(missed, p)
			errs = append(errs, err)
		}
	}
	return positions, missed, errors.Join(errs...)
}

// load makes sure that a version's text is here, with that hash. A hash of ""
// takes any.
func (c *configs) load(ctx context.Context, kind string, version int64, hash string) error {
	if version <= 1 || c.text(kind, version) != nil {
		return nil
	}
	if _, err := c.applied(ctx); err != nil {
		return fmt.Errorf("cannot load version %d of %s: %w", version, kind, err)
	}
	if text := c.text(kind, version); text == nil || hash != "" && schemas.TextHash(text) != hash {
		return fmt.Errorf("cannot load version %d of %s: %w", version, kind, errNoConfig)
	}
	return nil
}

// know adds every version that there is, each in force from its own time on.
// The texts are there then.
func (p *partition) know(ctx context.Context) error {
	all, err := p.configs.applied(ctx)
	for i := range all {
		p.head.config(&all[i], p.now)
	}
	return err
}

// applied are pointers to all versions that the topic config holds, which is read
// again only when it has grown.
func (c *configs) applied(ctx context.Context) ([]schemas.Control, error) {
	end, err := c.broker.End(ctx, broker.Log{Topic: broker.Config})
	if err != nil {
		return nil, fmt.Errorf("cannot read which configuration was applied: %w", err)
	}
	c.mu.RLock()
	known, upTo := c.known, c.end
	c.mu.RUnlock()
	if upTo == end {
		return known, nil
	}
	known = nil
	if err := Configs(ctx, c.broker, func(v *schemas.Config) {
		if schemas.TextHash(v.Text) == v.Hash {
			c.learn(pointer{kind: v.Kind, version: v.Version}, v.Text)
			known = append(known, schemas.Control{ConfigKind: v.Kind, ConfigVersion: v.Version, EffectiveAt: v.EffectiveAt})
		}
	}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.end = known, end
	return known, nil
}

// learn keeps a text; of two under one number the first stands.
func (c *configs) learn(key pointer, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.texts[key]; known {
		return
	}
	if c.texts == nil {
		c.texts = map[pointer][]byte{}
	}
	c.texts[key] = text
}
