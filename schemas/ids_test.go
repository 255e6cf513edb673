package schemas

import (
	"strings"
	"testing"
)

// The numbers of this file were computed outside of this package, from the
// words of its comments: another language must find the same.

func TestPartitionVectors(t *testing.T) {
	for _, v := range []struct {
		key               string
		of4, of16, of1000 int
	}{
		{"", 0, 4, 652},
		{"a", 2, 10, 250},
		{"0192cf3e-7d0c-7b6e-9d1a-3f8e2c5b7a90", 1, 5, 725},
		{"github.com/acme/shop", 1, 13, 781},
		{"日本", 3, 11, 331},
	} {
		for n, want := range map[int]int{1: 0, 4: v.of4, 16: v.of16, 1000: v.of1000} {
			if got := PartitionOf(v.key, n); got != want {
				t.Errorf("PartitionOf(%q, %d) = %d, want %d", v.key, n, got, want)
			}
		}
	}
}

func TestFactKeys(t *testing.T) {
	for _, v := range []struct {
		partitionKey string
		kind         Kind
		id, want     string
	}{
		{"s1", KindToolCall, "toolu_1", "71823c8ad48465a284269a391efe1d48"},
		{"github.com/acme/shop", KindCommit, "abc123", "31b97c38723648758673577b06f90995"},
		{"", KindUnknown, "", "bda1f301c9278ffe44c91bb0109e71a7"},
	} {
		if got := FactKey(v.partitionKey, v.kind, v.id).String(); got != v.want {
			t.Errorf("FactKey(%q, %s, %q) = %s, want %s", v.partitionKey, v.kind, v.id, got, v.want)
		}
	}
	if FactKey("ab", KindPrompt, "c") == FactKey("a", KindPrompt, "bc") {
		t.Error("two lists of parts share a key")
	}
	long := strings.Repeat("x", 1000)
	if FactKey(long, KindPrompt, "a") == FactKey(long, KindPrompt, "b") {
		t.Error("the end of long parts does not count")
	}
}

func TestRowIDs(t *testing.T) {
	fact := FactKey("s1", KindToolCall, "toolu_1")
	for _, v := range []struct {
		generation, version int64
		sign                int32
		want                string
	}{
		{1, 1, 1, "3b55f40eaf090e7e3e5d13b45381c30f"},
		{1, 2, -1, "713e4d5c8a1134f023e5d4a1d64105ff"},
		{2, 1, 1, "5e521d84735587961ed43371201b272a"},
	} {
		if got := RowID(v.generation, fact, v.version, v.sign).String(); got != v.want {
			t.Errorf("RowID(%d, fact, %d, %d) = %s, want %s", v.generation, v.version, v.sign, got, v.want)
		}
	}
}

func TestEventIDsNameWhatTheEventSays(t *testing.T) {
	var e Event
	SetEventID(&e)
	first := e.EventId
	if first.IsZero() {
		t.Fatal("no id")
	}
	SetEventID(&e)
	if e.EventId != first {
		t.Error("the id depends on the id before")
	}
	e.Body.Session.Path = strings.Repeat("x", 3000)
	SetEventID(&e)
	if e.EventId == first {
		t.Error("the body does not count")
	}
}

func TestTextHashes(t *testing.T) {
	if got := TextHash([]byte("hello")); got != "2cf24dba5fb0a30e26e83b2ac5b9e29e" {
		t.Errorf("TextHash(hello) = %s", got)
	}
	if got := TextHash(nil); got != "" {
		t.Errorf("TextHash of nothing = %q", got)
	}
}

func TestEveryKindHasAFamily(t *testing.T) {
	for k := KindUnknown + 1; int(k) < len(symbolsOfKind); k++ {
		if FamilyOf(k) == FamilyUnknown {
			t.Errorf("%s has no family", k)
		}
	}
	if FamilyOf(KindUnknown) != FamilyUnknown || FamilyOf(KindForgePush) != FamilyArtifact || FamilyOf(KindModelRetry) != FamilyModel {
		t.Error("a kind is in a wrong family")
	}
}
