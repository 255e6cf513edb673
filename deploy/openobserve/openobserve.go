// Package openobserve holds the files that 'flightlog provision openobserve'
// brings to OpenObserve. The streams are not files: their columns are those of
// the rows.
package openobserve

import (
	"embed"
	"io/fs"
	"path"
)

//go:embed dashboards/*.json
var files embed.FS

// Dashboards are the dashboards, as the API takes them (contract
// contracts/openobserve.md §6), by the name of their file without .json. Their
// queries name the streams of an installation with default names; provisioning
// puts in those of another.
func Dashboards() map[string][]byte {
	all := map[string][]byte{}
	names, err := fs.Glob(files, "dashboards/*.json")
	if err != nil {
		panic(err) // the pattern is a valid one
	}
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is in the binary
		}
		all[path.Base(name[:len(name)-len(".json")])] = content
	}
	return all
}
