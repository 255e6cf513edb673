package claudecode

import (
	"path"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/extraction"
)

// mcpWrites are the files that a tool of an MCP server writes to, by the names
// of the tool and of its arguments: there is no standard for them. A tool counts
// if its name begins with a verb of writing, and either says that it is about a
// file or is given something that can only be the path of one. What is written
// through the API of a forge (owner and repo) is no file of the machine, and a
// trial (dryRun) writes nothing.
func mcpWrites(tool string, arguments gjson.Result) []extraction.Write {
	words := toolWords(tool)
	operation := mcpVerbs[words[0]]
	if operation == "" || !arguments.IsObject() || len(words) > 6 {
		return nil
	}
	file, folder := false, false
	for _, word := range words[1:] {
		file = file || word == "file" || word == "files" || word == "document"
		folder = folder || word == "directory" || word == "folder" || word == "dir"
	}
	named := map[string]string{}
	trial := false
	arguments.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "dryRun", "dry_run":
			trial = trial || v.Type == gjson.True
		case "path", "file_path", "filePath", "relative_path", "source", "destination", "owner", "repo":
			named[key.Str] = strings.Clone(Short(v, maxPath))
		}
		return true
	})
	if folder || trial || named["owner"] != "" && named["repo"] != "" {
		return nil
	}
	target := named["path"]
	sure := file
	for _, field := range []string{"file_path", "filePath", "relative_path"} {
		if named[field] != "" {
			target, sure = named[field], true
		}
	}
	if !isPath(target, sure) {
		target = ""
	}
	var writes []extraction.Write
	if operation == "move" {
		source, destination := named["source"], named["destination"]
		if source == "" {
			source = target
		}
		if !file || !isPath(source, true) || !isPath(destination, true) {
			return nil
		}
		return []extraction.Write{{Path: source, Operation: "delete"}, {Path: destination, Operation: "unknown"}}
	}
	if target != "" {
		writes = append(writes, extraction.Write{Path: target, Operation: operation, Gone: operation == "delete"})
	}
	return writes
}

var mcpVerbs = map[string]string{
	"write": "unknown", "create": "create", "edit": "update", "update": "update", "append": "update", "replace": "update",
	"insert": "update", "apply": "update", "delete": "delete", "remove": "delete", "move": "move", "rename": "move",
}

// isPath tells what can be the path of a file; without being sure that it is
// one, only what has an extension.
func isPath(text string, sure bool) bool {
	if text == "" || strings.ContainsAny(text, "\n\x00?*") || strings.Contains(text, "://") || strings.HasSuffix(text, "/") {
		return false
	}
	ext := path.Ext(text)
	return sure || len(ext) > 1 && len(ext) < 10 && !strings.ContainsAny(text, " {}:")
}

// toolWords are the words of a tool's name, in lower case: write_file,
// write-file, writeFile. There is at least one.
func toolWords(tool string) []string {
	var b strings.Builder
	for i := range len(tool) {
		c := tool[i]
		switch {
		case c == '-' || c == '.':
			c = '_'
		case 'A' <= c && c <= 'Z':
			if i > 0 && 'a' <= tool[i-1] && tool[i-1] <= 'z' {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return strings.Split(b.String(), "_")
}
