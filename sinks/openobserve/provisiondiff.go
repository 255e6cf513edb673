package openobserve

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// serverMembers are those of a dashboard that the server sets itself (contract
// §6.1).
var serverMembers = []string{"dashboardId", "owner", "created", "role", "updatedAt"}

// shown is a dashboard without what makes no difference: the server's own
// members, and whatever is null or empty (the server writes members that it was
// not given as null, seen).
func shown(content map[string]any) map[string]any {
	members, _ := withoutEmpty(content).(map[string]any)
	for _, key := range serverMembers {
		delete(members, key)
	}
	return members
}

// withoutEmpty is a copy of a value of JSON; nil if nothing is left of it.
func withoutEmpty(v any) any {
	switch v := v.(type) {
	case string:
		if v == "" {
			return nil
		}
	case map[string]any:
		members := map[string]any{}
		for key, value := range v {
			if value = withoutEmpty(value); value != nil {
				members[key] = value
			}
		}
		if len(members) == 0 {
			return nil
		}
		return members
	case []any:
		if len(v) == 0 {
			return nil
		}
		items := make([]any, len(v)) // those that are empty keep their places
		for i := range v {
			items[i] = withoutEmpty(v[i])
		}
		return items
	}
	return v
}

// differences are the places where two dashboards differ, each as "path: from ->
// to". Lists of things that have names (panels, tabs, variables, axes) are
// compared by name, wherever they stand. Of texts the surroundings of the first
// difference are shown.
func differences(from, to map[string]any) (diff []string) {
	compareValues(&diff, "", shown(from), shown(to))
	return diff
}

func compareValues(diff *[]string, path string, from, to any) {
	if a, ok := from.(map[string]any); ok {
		if b, ok := to.(map[string]any); ok {
			keys := slices.Collect(maps.Keys(a))
			for key := range b {
				if _, both := a[key]; !both {
					keys = append(keys, key)
				}
			}
			slices.Sort(keys)
			for _, key := range keys {
				compareValues(diff, strings.TrimPrefix(path+"."+key, "."), a[key], b[key])
			}
			return
		}
	}
	if a, ok := from.([]any); ok {
		if b, ok := to.([]any); ok {
			compareLists(diff, path, a, b)
			return
		}
	}
	if sameJSON(from, to) {
		return
	}
	a, b := around(briefly(from), briefly(to))
	*diff = append(*diff, fmt.Sprintf("%s: %s -> %s", path, a, b))
}

func sameJSON(a, b any) bool {
	x, _ := json.Marshal(a) // both were read from JSON
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// compareLists compares by name where every item has one of its own, else place
// by place.
func compareLists(diff *[]string, path string, from, to []any) {
	a, b := byName(from), byName(to)
	if a == nil || b == nil {
		for i := range max(len(from), len(to)) {
			compareValues(diff, path+"["+strconv.Itoa(i)+"]", itemAt(from, i), itemAt(to, i))
		}
		return
	}
	names := append(keysOf(from), keysOf(to)...)
	seen := map[string]bool{}
	for _, name := range names {
		if !seen[name] {
			compareValues(diff, path+"["+name+"]", a[name], b[name])
		}
		seen[name] = true
	}
}

func itemAt(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// nameOf is what an item of a list is called: panels have an id, tabs a tabId,
// variables a name, axes an alias.
func nameOf(item any) string {
	members, _ := item.(map[string]any)
	for _, key := range []string{"id", "tabId", "alias", "name"} {
		if name, ok := members[key].(string); ok {
			return name
		}
	}
	return ""
}

func keysOf(list []any) (names []string) {
	for _, item := range list {
		names = append(names, nameOf(item))
	}
	return names
}

// byName is nil where an item has no name, or two have the same.
func byName(list []any) map[string]any {
	named := map[string]any{}
	for _, item := range list {
		name := nameOf(item)
		if _, twice := named[name]; twice || name == "" {
			return nil
		}
		named[name] = item
	}
	return named
}

// briefly is a value in one line: a whole panel by its title.
func briefly(v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case map[string]any:
		if title, ok := v["title"].(string); ok {
			return strconv.Quote(title)
		}
	}
	text, _ := json.Marshal(v) // it was read from JSON
	return string(text)
}

// shownBytes is how much of a text a diff shows.
const shownBytes = 70

// around cuts two texts to the surroundings of their first difference.
func around(a, b string) (string, string) {
	if len(a) <= shownBytes && len(b) <= shownBytes {
		return a, b
	}
	begin := 0
	for begin < min(len(a), len(b)) && a[begin] == b[begin] {
		begin++
	}
	begin = max(0, begin-shownBytes/3)
	return excerpt(a, begin), excerpt(b, begin)
}

func excerpt(text string, begin int) string {
	begin = min(begin, len(text))
	for begin > 0 && begin < len(text) && !utf8.RuneStart(text[begin]) {
		begin--
	}
	end := min(len(text), begin+shownBytes)
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	part := text[begin:end]
	if begin > 0 {
		part = "..." + part
	}
	if end < len(text) {
		part += "..."
	}
	return part
}
