package delivery

import (
	_ "github.com/fluxcd/helm-controller/api/v2"
	_ "github.com/fluxcd/kustomize-controller/api/v1"
	_ "github.com/fluxcd/pkg/ssa"
	_ "github.com/fluxcd/source-controller/api/v1"
	_ "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	_ "github.com/yuin/gopher-lua"
	_ "k8s.io/client-go/kubernetes"
	_ "sigs.k8s.io/controller-runtime/pkg/client"
	_ "sigs.k8s.io/kustomize/api/krusty"
	_ "sigs.k8s.io/yaml"
)
