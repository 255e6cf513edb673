package o2test

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// shapes are the objects in a dashboard of version 8 (contract §6.2), with their
// members in the order in which the server writes them. A member is a name with
//
//	!         it is required
//	?         it is written as null when it is not given
//	:s :n :b  it is a text, a number, a bool
//	:f        it is a number that is written as a float
//	:x        it is an object of shape x, :[x] a list of such
//
// and without a type it is kept as it is.
var shapes = map[string][]member{
	"dashboard": members(`version:n dashboardId:s title!:s description:s role:s owner:s created:s tabs:[tab] variables:variables
		defaultDatetimeDuration`),
	"tab": members(`tabId!:s name!:s panels:[panel]`),
	"panel": members(`id!:s type!:s title!:s description!:s config!:config queryType:s queries!:[query] layout!:layout htmlContent
		markdownContent customChartContent`),
	"layout": members(`x!:n y!:n w!:n h!:n i!:n`),
	"query":  members(`query vrlFunctionQuery customQuery!:b fields!:fields config!:queryConfig joins`),
	"fields": members(`stream!:s stream_type!:s x!:[axis] y!:[axis] z:[axis] breakdown:[axis] promql_labels promql_operations filter!
		latitude longitude weight name value_for_maps source target value`),
	"axis": members(`label!:s alias!:s column type color functionName args sortBy isDerived havingConditions treatAsNonTimestamp
		showFieldAsJson rawQuery`),
	"queryConfig": members(`promql_legend!:s step_value layer_type weight_fixed limit min max time_shift`),
	"config": members(`show_legends!:b legends_position unit unit_custom decimals:f line_thickness step_value top_results top_results_others
		axis_width axis_border_show label_option axis_label_rotate show_symbol line_interpolation legend_width legend_height
		base_map? map_type map_view? map_symbol_style y_axis_min y_axis_max drilldown mark_line override_config connect_nulls
		no_value_replacement wrap_table_cells table_transpose table_dynamic_columns mappings color background trellis show_gridlines
		aggregation table_aggregations promql_table_mode visible_columns hidden_columns sticky_columns column_order`),
	"variables": members(`list!:[variable] showDynamicFilters`),
	"variable": members(`type!:s name!:s label query_data value options multiSelect hideOnDashboard selectAllValueForMultiSelect
		customMultiSelectValue escapeSingleQuotes scope tabs panels`),
}

type member struct {
	name             string
	required, always bool
	shape            string // "" = as it is, s, n, b, f, or one of shapes
	list             bool
}

func members(text string) (all []member) {
	for part := range strings.FieldsSeq(text) {
		name, shape, _ := strings.Cut(part, ":")
		m := member{name: strings.TrimRight(name, "!?"), required: strings.HasSuffix(name, "!"), always: strings.HasSuffix(name, "?")}
		m.shape = strings.Trim(shape, "[]")
		m.list = m.shape != shape
		all = append(all, m)
	}
	return all
}

// checkShape tells what a dashboard lacks, or has of a wrong type.
func checkShape(raw []byte) error { return check(gjson.ParseBytes(raw), "dashboard", false) }

func check(v gjson.Result, shape string, list bool) error {
	switch {
	case list && !v.IsArray():
		return fmt.Errorf("invalid type: %s, expected a sequence", typeName(v))
	case list:
		for _, item := range v.Array() {
			if err := check(item, shape, false); err != nil {
				return err
			}
		}
		return nil
	case shape == "":
		return nil
	case shape == "s" && v.Type != gjson.String:
		return fmt.Errorf("invalid type: %s, expected a string", typeName(v))
	case (shape == "n" || shape == "f") && v.Type != gjson.Number:
		return fmt.Errorf("invalid type: %s, expected a number", typeName(v))
	case shape == "b" && !v.IsBool():
		return fmt.Errorf("invalid type: %s, expected a boolean", typeName(v))
	}
	if _, ok := shapes[shape]; !ok {
		return nil
	}
	if !v.IsObject() {
		return fmt.Errorf("invalid type: %s, expected an object", typeName(v))
	}
	given := v.Map()
	for _, m := range shapes[shape] {
		value, ok := given[m.name]
		switch {
		case !ok && m.required:
			return fmt.Errorf("missing field `%s`", m.name)
		case !ok, value.Type == gjson.Null && !m.required:
			continue
		}
		if err := check(value, m.shape, m.list); err != nil {
			return err
		}
	}
	return nil
}

func typeName(v gjson.Result) string {
	switch {
	case v.IsArray():
		return "sequence"
	case v.IsObject():
		return "map"
	case v.IsBool():
		return "boolean"
	}
	return strings.ToLower(v.Type.String())
}

// known is a dashboard that was checked with only those members that the server
// knows.
func known(raw []byte) []byte { return appendKnown(nil, gjson.ParseBytes(raw), "dashboard", false) }

func appendKnown(out []byte, v gjson.Result, shape string, list bool) []byte {
	if list && v.IsArray() {
		out = append(out, '[')
		for i, item := range v.Array() {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendKnown(out, item, shape, false)
		}
		return append(out, ']')
	}
	all, ok := shapes[shape]
	switch {
	case shape == "f" && v.Type == gjson.Number:
		return append(out, float(v.Num)...)
	case !ok || !v.IsObject():
		return append(out, v.Raw...)
	}
	given := v.Map()
	first := true
	out = append(out, '{')
	for _, m := range all {
		value, ok := given[m.name]
		if !ok && !m.always {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(append(out, '"'), m.name...), `":`...)
		if !ok {
			out = append(out, "null"...)
			continue
		}
		out = appendKnown(out, value, m.shape, m.list)
	}
	return append(out, '}')
}
