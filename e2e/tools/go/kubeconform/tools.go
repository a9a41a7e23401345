//go:build tools

// Package tools names the program, so that `go mod tidy` keeps what it needs. e2e/tools/install builds it.
package tools

import _ "github.com/yannh/kubeconform/cmd/kubeconform"
