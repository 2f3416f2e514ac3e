{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Flagger accepts a single label. */ -}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}
