//go:build fold2

package sessions

func init() { version++ }
