package bill

import (
	"regexp"
	"strings"
)

// The forms of a model's id (contract §8: cloud vendors' ids and date suffixes
// must be mapped to the model).
var (
	bedrock = regexp.MustCompile(`^(?:arn:aws[^/]*/)?(?:([a-z-]+)\.)?anthropic\.(claude-[a-z0-9-]+?)(?:-v\d+(?::.*)?)?$`)
	vertex  = regexp.MustCompile(`^(claude-[a-z0-9-]+?)(?:-v\d+)?@(?:\d{8}|default|latest)$`)
	plain   = regexp.MustCompile(`^(claude-[a-z0-9-]+?)(?:\[1m\])?$`)
	dated   = regexp.MustCompile(`-(?:\d{8}|latest)$`)
)

// modelOf is the model that an id means, in the words of the price table, empty
// for an unknown one, and where the request was served: "global", "regional",
// or "" where the id does not tell.
func modelOf(id string) (model, region string) {
	name := ""
	if m := bedrock.FindStringSubmatch(id); m != nil {
		// global.anthropic.… is served anywhere; us.anthropic.… and
		// anthropic.… (one region) are regional endpoints.
		if name, region = m[2], "regional"; m[1] == "global" {
			region = "global"
		}
	} else if m := vertex.FindStringSubmatch(id); m != nil {
		name = m[1] // the region is in the request's address, not in the id
	} else if m := plain.FindStringSubmatch(strings.TrimSpace(id)); m != nil {
		name = m[1]
	}
	return names[dated.ReplaceAllString(name, "")], region
}
