package detectors

import "sync"

// Cache holds the versions of the rules that folds go by, parsed. Safe for
// concurrent use.
type Cache struct{ parsed sync.Map }

// NewCache makes a cache.
func NewCache() *Cache { return &Cache{} }

// text tells one text from another of the same number: it stays where it is in
// memory for as long as it is used.
type text struct {
	version int64
	at      *byte
}

// Rules are a version of the rules by the text that config gives of it. A text that
// is none counts as the version before it; the first version is the built-in one.
func (c *Cache) Rules(version int64, config func(kind string, version int64) []byte) *Rules {
	for ; version > 1; version-- {
		t := config("rules", version)
		if len(t) == 0 {
			continue
		}
		key := text{version, &t[0]}
		r, ok := c.parsed.Load(key)
		if !ok {
			parsed, _ := Parse(t, version)
			r, _ = c.parsed.LoadOrStore(key, parsed)
		}
		if rules := r.(*Rules); rules != nil {
			return rules
		}
	}
	return Builtin()
}
