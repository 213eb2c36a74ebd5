{{/*
The configuration as TOML. Written here and not by `toToml`: that one reads every number from JSON as a float. A JSON
string, number, boolean or list of them is TOML as it stands.
*/}}
{{- define "cairn.toml" -}}
{{- $config := include "cairn.config" . | fromJson -}}
{{- range $name := keys $config | sortAlpha -}}
{{- $value := index $config $name -}}
{{- if not (has $name (list "bucket" "key" "kubernetes")) }}
{{ $name }} = {{ include "cairn.tomlValue" $value }}
{{- end -}}
{{- end }}
{{- /* There also when empty: it is what lets keys go into Secrets. */}}

[kubernetes]
{{- include "cairn.tomlTable" $config.kubernetes }}
{{- range $config.bucket }}

[[bucket]]
{{- include "cairn.tomlTable" . }}
{{- end }}
{{- range $config.key }}

[[key]]
{{- include "cairn.tomlTable" . }}
{{- end }}
{{- end -}}

{{- define "cairn.tomlTable" -}}
{{- $table := . -}}
{{- range $name := keys $table | sortAlpha }}
{{ $name }} = {{ include "cairn.tomlValue" (index $table $name) }}
{{- end }}
{{- end -}}

{{- define "cairn.tomlValue" -}}
{{- if kindIs "float64" . -}}
{{- . | int64 -}}
{{- else -}}
{{- toRawJson . -}}
{{- end -}}
{{- end -}}
