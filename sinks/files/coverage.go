package files

import (
	"fmt"
	"time"
)

// Coverage is the time of which an archive holds everything of a topic, in all
// partitions and lanes, by the times at which the broker appended it.
//
// A fact is told after it has occurred, perhaps long after, and by another clock
// than the broker's. Whoever wants the facts of [F, T) asks whether the archive
// covers F - 24 h to T, as docs/subscribe.md has it for the topic, and then for
// the Rows of [F, T): facts of that time which were told later, up to Until, are
// among them.
type Coverage struct {
	// From is the zero time where the archive has the topic from its beginning.
	From time.Time
	// Until lies a few minutes back at best.
	Until time.Time
	// Missing is the newest file that the index names and that is not there any
	// more; empty if all are. What was appended up to its end is not covered.
	Missing string
}

// Covers tells whether all that was appended from one time to before another is
// there. From the zero time: from the topic's beginning.
func (c Coverage) Covers(from, to time.Time) bool {
	return !from.Before(c.From) && !to.After(c.Until) && !to.IsZero()
}

// String says it in words.
func (c Coverage) String() string {
	if c.Until.IsZero() || !c.From.Before(c.Until) {
		return "nothing yet"
	}
	text := fmt.Sprintf("what was appended from %s to %s", c.From.UTC().Format(time.RFC3339), c.Until.UTC().Format(time.RFC3339))
	if c.From.IsZero() {
		text = fmt.Sprintf("what was appended up to %s", c.Until.UTC().Format(time.RFC3339))
	}
	if c.Missing != "" {
		text += fmt.Sprintf(" (%s is missing)", c.Missing)
	}
	return text
}

// Coverage says from when to when the archive holds all of a topic. It looks
// whether the files are there, not what they hold: Rows does.
func (a *Archive) Coverage(topic string) (Coverage, error) {
	c, err := a.coverage(topic)
	if err != nil {
		return Coverage{}, fmt.Errorf("cannot read the archive in %s: %w", a.dir, err)
	}
	return c, nil
}

func (a *Archive) coverage(topic string) (c Coverage, err error) {
	var since, until, missing int64
	err = a.scan(topic, func(f *File) error {
		there, err := f.Exists()
		if err == nil && !there && f.LastAppendedAt >= missing {
			missing, c.Missing = f.LastAppendedAt, f.Name
		}
		return err
	})
	if err != nil {
		return c, err
	}
	logs := 0
	for i := range a.done.Logs {
		p := &a.done.Logs[i]
		if p.Topic != topic || p.Archived == nil {
			continue
		}
		if logs == 0 {
			since, until = p.Archived.Since, p.Archived.Until
		}
		logs++
		since, until = max(since, p.Archived.Since), min(until, p.Archived.Until)
	}
	if logs == 0 {
		return c, nil
	}
	if c.Missing != "" {
		since = max(since, missing+1)
	}
	if since > 0 {
		c.From = time.UnixMicro(since).UTC()
	}
	c.Until = time.UnixMicro(until).UTC()
	return c, nil
}

// Covers is an error that says what the archive holds, unless it holds all that
// was appended to a topic from one time to before another.
func (a *Archive) Covers(topic string, from, to time.Time) error {
	c, err := a.Coverage(topic)
	if err != nil || c.Covers(from, to) {
		return err
	}
	return fmt.Errorf("the archive in %s does not hold all of %s from %s to %s: it holds %s", a.dir, topic,
		from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), c)
}
