{{- define "firstlight.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "firstlight.labels" -}}
app.kubernetes.io/name: firstlight
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Selector labels never change: they are immutable. Argument: dict "root" . "component" "plugin" */}}
{{- define "firstlight.selector" -}}
app.kubernetes.io/name: firstlight
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Argument: dict "root" . "image" .Values.plugin.image */}}
{{- define "firstlight.image" -}}
{{- $global := .root.Values.image | default dict -}}
{{- with $global.registry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $global.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "firstlight.webhookServiceAccount" -}}{{ include "firstlight.fullname" . }}-webhook{{- end }}
{{- define "firstlight.pluginServiceAccount" -}}{{ include "firstlight.fullname" . }}-plugin{{- end }}
{{- define "firstlight.tlsSecret" -}}
{{- $certificates := .Values.webhook.certificates -}}
{{- if eq $certificates.mode "secret" }}{{ $certificates.secretName }}{{ else }}{{ include "firstlight.fullname" . }}-webhook-tls{{ end -}}
{{- end }}

{{/* "true" where a pool has real cards. */}}
{{- define "firstlight.cards" -}}
{{- $cards := false }}
{{- range .Values.pools }}{{ if or (eq .kind "whole") (eq .kind "slice") }}{{ $cards = true }}{{ end }}{{ end -}}
{{- $cards -}}
{{- end }}

{{/* "true" where the webhook looks for what was annotated and never injected. */}}
{{- define "firstlight.search" -}}
{{- ne (toString (.Values.webhook | default dict).search) "false" -}}
{{- end }}

{{/* Namespaces about which the API server does not ask the webhook. */}}
{{- define "firstlight.excludedNamespaces" -}}
{{- prepend ((.Values.webhook | default dict).excludedNamespaces | default list) .Release.Namespace | uniq | toJson -}}
{{- end }}

{{- define "firstlight.configChecksum" -}}
{{- toYaml .Values.pools | sha256sum -}}
{{- end }}
