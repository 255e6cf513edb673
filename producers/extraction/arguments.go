package extraction

import (
	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/schemas"
)

// ArgumentsHash names the arguments of a call by their canonical JSON. Of a shell
// command only what it does counts: its description, which the model words anew
// each time, and its timeout are left out.
func ArgumentsHash(tool string, canonical []byte) string {
	if tool != "Bash" || len(canonical) == 0 || canonical[0] != '{' {
		return schemas.TextHash(canonical)
	}
	kept := make([]byte, 0, len(canonical))
	kept = append(kept, '{')
	gjson.ParseBytes(canonical).ForEach(func(key, value gjson.Result) bool {
		if key.Str != "description" && key.Str != "timeout" {
			if len(kept) > 1 {
				kept = append(kept, ',')
			}
			kept = append(append(append(kept, key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	return schemas.TextHash(append(kept, '}'))
}
