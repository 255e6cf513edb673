package verify

import (
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

func TestAFrameOfEveryTopicOfRowsIsRead(t *testing.T) {
	header := schemas.RowHeader{Processor: "sessions", FirstCommit: 3, LastCommit: 4}
	for topic, row := range map[string][]byte{
		broker.Enriched:    (&schemas.Enriched{Sign: 1}).AppendAvro(nil),
		broker.Findings:    (&schemas.Finding{Sign: 1}).AppendAvro(nil),
		broker.Tasks:       (&schemas.Task{Sign: 1}).AppendAvro(nil),
		broker.Spend:       (&schemas.Spend{Sign: 1}).AppendAvro(nil),
		broker.DeadLetters: (&schemas.DeadLetter{Reason: "invalid"}).AppendAvro(nil),
		broker.Closed:      (&schemas.Closed{Last: true}).AppendAvro(nil),
		broker.TaskFacts:   (&schemas.TaskFact{SessionId: "s"}).AppendAvro(nil),
		broker.ChangeFacts: (&schemas.Enriched{Sign: 1}).AppendAvro(nil),
		broker.SpendDeltas: (&schemas.SpendDelta{Value: "v"}).AppendAvro(nil),
	} {
		f, err := readFrame(broker.Log{Topic: topic}, broker.Message{Payload: broker.AppendRows(nil, topic, &header, [][]byte{row})})
		if err != nil || f.RowHeader != header || len(f.rows) != 1 || string(f.rows[0]) != string(row) {
			t.Errorf("%s: %+v (%v), want a row %x", topic, f, err, row)
		}
	}
	control := (&schemas.Control{Type: schemas.ControlTypeTick}).AppendMessage(nil)
	for _, topic := range broker.RowTopics() {
		f, err := readFrame(broker.Log{Topic: topic}, broker.Message{Payload: control})
		if err != nil || f.Processor != "" || len(f.rows) > 0 {
			t.Errorf("a control record in %s: %+v (%v)", topic, f, err)
		}
		if _, err := readFrame(broker.Log{Topic: topic}, broker.Message{Payload: broker.AppendRows(nil, topic, &header, nil)}); err != nil {
			t.Error(err)
		}
	}
}
