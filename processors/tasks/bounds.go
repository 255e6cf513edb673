package tasks

import (
	"cmp"
	"maps"
	"slices"

	"github.com/flightlog/flightlog/schemas"
)

// What lists hold at most (schemas/task.avsc); a record is at most 4 KiB.
const (
	maxParts    = 8
	maxFiles    = 12
	maxEdges    = 16
	maxEvidence = 32
	maxChanges  = 8
	maxPaths    = 1020 // bytes, 5 for each
	maxPulls    = 64   // bytes, 4 for each
	maxRecord   = 4096
)

// other gathers what finds no place in a list.
const other = "other"

// values are those of a map, in no order.
func values[K comparable, V any](m map[K]V) []V { return slices.Collect(maps.Values(m)) }

func addPart(to, p *schemas.TaskPart) {
	to.ModelRequests += p.ModelRequests
	to.TokenInput += p.TokenInput
	to.TokenOutput += p.TokenOutput
	to.TokenCacheRead += p.TokenCacheRead
	to.TokenCacheWrite += p.TokenCacheWrite
	to.CostNanoUsd += p.CostNanoUsd
}

// cutParts adds up equal parts, the dearest first, and puts those beyond n into
// one part for each run.
func cutParts(parts []schemas.TaskPart, n int) []schemas.TaskPart {
	sorted := addUp(parts, func(p *schemas.TaskPart) part { return part{p.Run, p.Model} }, addPart)
	slices.SortFunc(sorted, func(a, b schemas.TaskPart) int {
		return cmp.Or(cmp.Compare(b.CostNanoUsd, a.CostNanoUsd), cmp.Compare(b.ModelRequests, a.ModelRequests), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Model, b.Model))
	})
	if len(sorted) <= n {
		return sorted
	}
	for i := max(0, n-2); i < len(sorted); i++ { // main and subagents have one each
		sorted[i].Model = other
	}
	return cutParts(sorted, max(n, 2))
}

// cutFiles adds up equal types, those of most files first, and puts those beyond
// n into one.
func cutFiles(files []schemas.FilesOfType, n int) []schemas.FilesOfType {
	sorted := addUp(files, func(f *schemas.FilesOfType) string { return f.FileType }, func(to, f *schemas.FilesOfType) {
		to.Files, to.LinesAdded, to.LinesRemoved = to.Files+f.Files, to.LinesAdded+f.LinesAdded, to.LinesRemoved+f.LinesRemoved
	})
	slices.SortFunc(sorted, func(a, b schemas.FilesOfType) int {
		return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(b.LinesAdded+b.LinesRemoved, a.LinesAdded+a.LinesRemoved), cmp.Compare(a.FileType, b.FileType))
	})
	if len(sorted) <= n {
		return sorted
	}
	for i := max(0, n-1); i < len(sorted); i++ {
		sorted[i].FileType = other
	}
	return cutFiles(sorted, max(n, 1))
}

// addUp adds up the items of one key.
func addUp[T any, K comparable](items []T, key func(*T) K, add func(to, from *T)) (sums []T) {
	at := map[K]int{}
	for i := range items {
		k := key(&items[i])
		if j, ok := at[k]; ok {
			add(&sums[j], &items[i])
			continue
		}
		at[k] = len(sums)
		sums = append(sums, items[i])
	}
	return sums
}

// sumParts fills the sums of a task from its parts.
func sumParts(t *schemas.Task) {
	var all schemas.TaskPart
	for i := range t.Parts {
		addPart(&all, &t.Parts[i])
	}
	t.ModelRequests, t.TokenInput, t.TokenOutput = all.ModelRequests, all.TokenInput, all.TokenOutput
	t.TokenCacheRead, t.TokenCacheWrite, t.CostNanoUsd = all.TokenCacheRead, all.TokenCacheWrite, all.CostNanoUsd
}

// fit cuts the lists of a task until its record is small enough: edges, then
// evidence, then changes, then types and models.
func fit(t *schemas.Task, size func() int) {
	t.OutcomeEvidence = t.OutcomeEvidence[:min(len(t.OutcomeEvidence), maxEvidence)]
	for n := len(t.Edges); n > maxEdges || n > 0 && size() > maxRecord; n = len(t.Edges) {
		t.Edges, t.MoreEdges = t.Edges[:n-1], t.MoreEdges+1
	}
	for n := len(t.OutcomeEvidence); n > 0 && size() > maxRecord; n = len(t.OutcomeEvidence) {
		t.OutcomeEvidence = t.OutcomeEvidence[:n-1]
	}
	for n := len(t.Changes); n > 1 && size() > maxRecord; n = len(t.Changes) {
		t.Changes, t.MoreChanges = t.Changes[:n-1], t.MoreChanges+1
	}
	for n := len(t.Did.Files) - 1; n > 0 && size() > maxRecord; n-- {
		t.Did.Files = cutFiles(t.Did.Files, n)
	}
	for n := len(t.Parts) - 1; n > 1 && size() > maxRecord; n-- {
		t.Parts = cutParts(t.Parts, n)
	}
}

// fitFact cuts a contribution: what tells files of several sessions apart goes
// first.
func fitFact(f *schemas.TaskFact) {
	size := func() int { return len(f.AppendAvro(nil)) }
	f.Paths = f.Paths[:min(len(f.Paths), maxPaths)]
	f.Pulls = f.Pulls[:min(len(f.Pulls), maxPulls)]
	for len(f.Paths) > 0 && size() > maxRecord {
		f.Paths = f.Paths[:len(f.Paths)/10*5]
	}
	fit(&f.Task, size)
}
