package sessions

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/tasks"
	"github.com/flightlog/flightlog/schemas"
)

// What a session contributes to its tasks, whole, for the processor tasks: made
// anew of all rows that stand, now and then and when the session has ended.

const maxOfTasks = 256 // tasks of one session that are told; of more the first by task_id

// tasksPace is how long a session waits to tell its tasks what is new, µs: the
// longer the more it has to go over, but no more than five minutes.
func tasksPace(s *session) int64 { return min(10e6+s.facts*250e3, 300e6) }

// contributed is what was told of a session's tasks last.
type contributed struct {
	tasks   []toldTask // by id
	changed bool
}

type toldTask struct {
	id   string
	hash [16]byte // of the contribution
}

// tellTasks tells what the session contributes, where that is another than before.
func (x *fold) tellTasks(s *session) {
	by := map[string][]*schemas.Enriched{}
	var end *schemas.Enriched
	x.eachRow(s, func(_ schemas.Id, r *schemas.Enriched) {
		if r.TaskId != "" {
			by[r.TaskId] = append(by[r.TaskId], r)
		}
		if r.Kind == schemas.KindSessionEnd {
			end = r
		}
	})
	if end != nil && s.endAt != 0 {
		end = nil // it goes on
	}
	t := load(x, toldKey(s.id), func() *contributed { return &contributed{} })
	now, team := make([]toldTask, 0, len(by)), ""
	say := func(f *schemas.TaskFact) (hash [16]byte) {
		row := f.AppendAvro(nil)
		sum := sha256.Sum256(row)
		copy(hash[:], sum[:])
		i, known := slices.BinarySearchFunc(t.tasks, f.Task.TaskId, func(t toldTask, id string) int { return cmp.Compare(t.id, id) })
		if !known || t.tasks[i].hash != hash {
			x.tx.EmitFor(broker.TaskFacts, f.Task.TaskId, row)
		}
		return hash
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		if len(now) == maxOfTasks {
			break
		}
		f := tasks.Contribute(by[id], end)
		team = cmp.Or(f.Task.Team, team)
		now = append(now, toldTask{id, say(&f)})
	}
	for _, before := range t.tasks { // what is no task of it any more
		if _, still := slices.BinarySearchFunc(now, before.id, func(t toldTask, id string) int { return cmp.Compare(t.id, id) }); !still {
			f := schemas.TaskFact{SessionId: s.texts[sSessionId].value}
			f.Task.Org, f.Task.TaskId = s.texts[sOrg].value, before.id
			say(&f)
		}
	}
	x.tellHost(s, team)
	if !slices.Equal(now, t.tasks) {
		t.tasks, t.changed = now, true
	}
	s.tasksAt, s.changed = 0, true
}

func (t *contributed) encode() []byte {
	e := encoder{recordVersion}
	e.uint(uint64(len(t.tasks)))
	for _, task := range t.tasks {
		e.bytes([]byte(task.id))
		e = append(e, task.hash[:]...)
	}
	return e
}

func (t *contributed) decode(b []byte) error {
	d := decoder{b: bytes.Clone(b)}
	d.version()
	for n := d.uint(); n > 0 && !d.bad; n-- {
		task := toldTask{id: string(d.take(d.uint()))}
		copy(task.hash[:], d.take(16))
		t.tasks = append(t.tasks, task)
	}
	return d.err()
}
