package sessions

import (
	"fmt"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/schemas"
)

// What the processor changes is told: what sessions committed, pushed and made
// pull requests of, as their rows are said, and what the forge tells, which has no
// session. Both go to the partition of their repository.

// observed hands on what the forge tells. It leaves nothing in the state: changes
// owns the fact.
func (x *fold) observed(org string, e *schemas.Event) (engine.Outcome, error) {
	if !changes.OfForge(e.Kind) {
		return 0, fmt.Errorf("%w: kind %s without a session", engine.ErrInvalid, e.Kind)
	}
	e.OccurredAt = min(e.OccurredAt, x.tx.AppendedAt()+maxAhead)
	r, err := changes.Observed(org, e)
	if err != nil {
		return 0, err
	}
	x.tx.EmitFor(broker.ChangeFacts, changes.Repo(&r), r.AppendAvro(nil))
	return engine.Applied, nil
}

// tellChanges hands on a row of what a session did.
func (x *fold) tellChanges(r *schemas.Enriched, row []byte) {
	if repo := changes.Repo(r); changes.OfSession(r.Kind) && repo != "" {
		x.tx.EmitFor(broker.ChangeFacts, repo, row)
	}
}
