{{- /* Names. */ -}}
{{- define "fedrlora.name" -}}
{{- if contains "fedrlora" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-fedrlora{{ end }}
{{- end }}

{{- define "fedrlora.site" -}}
{{- if .Values.site }}{{ .Values.site }}{{ else }}hub{{ end }}
{{- end }}

{{- define "fedrlora.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else }}{{ include "fedrlora.name" . }}{{ end }}
{{- end }}

{{- define "fedrlora.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}{{ else }}{{ include "fedrlora.name" . }}-tls{{ end }}
{{- end }}

{{- define "fedrlora.image" -}}
{{- .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{- /* What finds the pods of this release. It never changes: a StatefulSet's selector cannot. */ -}}
{{- define "fedrlora.selector" -}}
app.kubernetes.io/name: fedrlora
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fedrlora.labels" -}}
{{ include "fedrlora.selector" . }}
app.kubernetes.io/component: {{ .Values.role }}
{{- end }}

{{- /* Where the silos find one another, and the port that a URL means. */ -}}
{{- define "fedrlora.portOf" -}}
{{- $url := urlParse . -}}
{{- if regexMatch ":[0-9]+$" $url.host }}{{ regexFind "[0-9]+$" $url.host }}
{{- else if hasPrefix "redis" $url.scheme }}6379
{{- else if eq $url.scheme "http" }}80
{{- else }}443
{{- end }}
{{- end }}

{{- /* Peers of a network policy: addresses, and pods in namespaces; those of this program alone where "own" is set. */ -}}
{{- define "fedrlora.peers" -}}
{{- range .targets.cidrs }}
- ipBlock:
    cidr: {{ . | quote }}
{{- end }}
{{- $own := .own }}
{{- range .targets.namespaces }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
  {{- if $own }}
  podSelector:
    matchLabels:
      app.kubernetes.io/name: fedrlora
  {{- end }}
{{- end }}
{{- end }}

{{- /* What the credentials of a store or the membership are called in the environment of a silo. */ -}}
{{- define "fedrlora.credentialEnv" -}}
{{- if ne .place.credential "identity" }}
- name: {{ .prefix }}_{{ get (dict "password" "PASSWORD" "sas" "SAS" "connectionString" "CONNECTION_STRING") .place.credential }}
  valueFrom:
    secretKeyRef:
      name: {{ .place.existingSecret }}
      key: {{ .place.existingSecretKey }}
{{- end }}
{{- end }}
