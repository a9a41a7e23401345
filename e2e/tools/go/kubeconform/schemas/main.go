// Writes the JSON schemas that kubeconform checks manifests against: one strict, self-contained file a kind, named
// kind-group-version.json as kubeconform asks for them. Sources are Kubernetes' own swagger.json and CRD manifests.
// Usage: schemas FOLDER (swagger.json | crd.yaml)...
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: schemas FOLDER (swagger.json | crd.yaml)...")
	}
	written := 0
	for _, source := range os.Args[2:] {
		text, err := os.ReadFile(source)
		if err != nil {
			log.Fatal(err)
		}
		// Documents may be preceded by comments that hold no object.
		for _, document := range bytes.Split(text, []byte("\n---")) {
			var parsed object
			if err := yaml.Unmarshal(document, &parsed); err != nil {
				log.Fatalf("%s: %v", source, err)
			}
			for name, schema := range schemas(parsed) {
				encoded, err := json.Marshal(schema)
				if err == nil {
					err = os.WriteFile(filepath.Join(os.Args[1], name), encoded, 0o644)
				}
				if err != nil {
					log.Fatal(err)
				}
				written++
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%d schemas\n", written)
}

// The schemas of a document by file name.
func schemas(document object) map[string]object {
	found := map[string]object{}
	if definitions, ok := document["definitions"].(object); ok {
		for name, definition := range definitions {
			kinds, _ := definition.(object)["x-kubernetes-group-version-kind"].([]any)
			for _, each := range kinds {
				kind := each.(object)
				schema := strict(definition, definitions, []string{name}).(object)
				pin(schema, kind["group"].(string), kind["version"].(string), kind["kind"].(string))
				found[file(kind["group"].(string), kind["version"].(string), kind["kind"].(string))] = schema
			}
		}
	}
	if document["kind"] == "CustomResourceDefinition" {
		spec := document["spec"].(object)
		group, kind := spec["group"].(string), spec["names"].(object)["kind"].(string)
		for _, each := range spec["versions"].([]any) {
			version := each.(object)
			schema := strict(version["schema"].(object)["openAPIV3Schema"], nil, nil).(object)
			properties := schema["properties"].(object)
			properties["metadata"] = object{"type": "object"}
			name := version["name"].(string)
			pin(schema, group, name, kind)
			found[file(group, name, kind)] = schema
		}
	}
	return found
}

func file(group, version, kind string) string {
	prefix, _, _ := strings.Cut(group, ".")
	if prefix != "" {
		prefix += "-"
	}
	return strings.ToLower(kind + "-" + prefix + version + ".json")
}

// Says which object it is for; two groups with the same first word would share a file name.
func pin(schema object, group, version, kind string) {
	properties, ok := schema["properties"].(object)
	if !ok {
		return
	}
	if group != "" {
		version = group + "/" + version
	}
	properties["apiVersion"] = object{"const": version}
	properties["kind"] = object{"const": kind}
}

// A copy with references resolved and unknown fields refused, as the API server does with strict field validation.
func strict(node any, definitions object, path []string) any {
	switch node := node.(type) {
	case []any:
		copied := make([]any, len(node))
		for i, each := range node {
			copied[i] = strict(each, definitions, path)
		}
		return copied
	case object:
		if reference, ok := node["$ref"].(string); ok {
			return resolve(strings.TrimPrefix(reference, "#/definitions/"), definitions, path)
		}
		if node["x-kubernetes-int-or-string"] == true || node["format"] == "int-or-string" {
			return object{"type": []any{"string", "integer"}}
		}
		copied := object{}
		for key, value := range node {
			if key != "description" && key != "properties" && !strings.HasPrefix(key, "x-kubernetes-") {
				copied[key] = strict(value, definitions, path)
			}
		}
		named, properties := node["properties"].(object)
		if properties {
			fields := object{} // names, not words of the schema: a field may be called "description"
			for name, value := range named {
				fields[name] = strict(value, definitions, path)
			}
			copied["properties"] = fields
		}
		_, additional := node["additionalProperties"]
		if properties && !additional && node["x-kubernetes-preserve-unknown-fields"] != true {
			copied["additionalProperties"] = false
		}
		if of, ok := copied["type"].(string); ok && node["nullable"] == true {
			copied["type"] = []any{of, "null"}
		}
		return copied
	}
	return node
}

func resolve(name string, definitions object, path []string) any {
	if strings.HasSuffix(name, ".Quantity") {
		return object{"type": []any{"string", "number"}}
	}
	for _, above := range path {
		if above == name { // only schemas of schemas contain themselves
			return object{}
		}
	}
	return strict(definitions[name], definitions, append(append([]string{}, path...), name))
}
