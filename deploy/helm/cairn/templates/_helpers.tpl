{{/* The name of everything. 52 characters: the longest with which a StatefulSet can label its pods. */}}
{{- define "cairn.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cairn.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cairn.labels" -}}
{{ include "cairn.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cairn.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cairn.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount: with create=false the name of one is needed" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the server's certificate, where it comes from outside. */}}
{{- define "cairn.tlsSecret" -}}
{{- if eq .Values.tls.mode "secret" -}}
{{- .Values.tls.secretName -}}
{{- else if eq .Values.tls.mode "certManager" -}}
{{- include "cairn.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* Whether the server writes the CA into a ConfigMap: empty for no. */}}
{{- define "cairn.publishesCa" -}}
{{- if or (eq .Values.tls.mode "builtin") (and (eq .Values.tls.mode "certManager") .Values.tls.certManager.publishCa) -}}
yes
{{- end -}}
{{- end -}}

{{/* Names that are given by values, as a JSON list: those that mean something outside of the cluster. */}}
{{- define "cairn.givenNames" -}}
{{- $names := .Values.tls.names -}}
{{- range .Values.s3Domains -}}
{{- $names = concat $names (list . (printf "*.%s" .)) -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $names = concat $names .Values.ingress.hosts -}}
{{- end -}}
{{- if .Values.gateway.kind -}}
{{- $names = concat $names .Values.gateway.hostnames -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* Names under which clients reach the server, as a JSON list. */}}
{{- define "cairn.tlsNames" -}}
{{- $full := include "cairn.fullname" . -}}
{{- $names := list $full -}}
{{- range $service := list $full (printf "*.%s-nodes" $full) -}}
{{- $of := printf "%s.%s" $service $.Release.Namespace -}}
{{- $names = concat $names (list $of (printf "%s.svc" $of) (printf "%s.svc.%s" $of $.Values.clusterDomain)) -}}
{{- end -}}
{{- concat $names (include "cairn.givenNames" . | fromJsonArray) | uniq | toJson -}}
{{- end -}}

{{/* Names of the Certificate that cert-manager gets, as a JSON list. */}}
{{- define "cairn.certificateNames" -}}
{{- if .Values.tls.certManager.publishCa -}}
{{- $names := list -}}
{{- range include "cairn.tlsNames" . | fromJsonArray -}}
{{- /* No bare host names: authorities of companies sign none. */ -}}
{{- if or (contains "." .) (contains ":" .) -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- else -}}
{{- /* A public authority refuses the whole request for one name of the cluster in it. */ -}}
{{- $names := include "cairn.givenNames" . | fromJsonArray -}}
{{- if not $names -}}
{{- fail "tls.certManager.publishCa=false: a public authority signs no name of the cluster; give one in tls.names, s3Domains, ingress.hosts or gateway.hostnames" -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}
{{- end -}}

{{/* A name that the server's certificate has: what a client verifies that reaches it by another. */}}
{{- define "cairn.serverName" -}}
{{- $full := include "cairn.fullname" . -}}
{{- $name := printf "%s.%s.svc" $full .Release.Namespace -}}
{{- if not (include "cairn.publishesCa" .) -}}
{{- with include "cairn.givenNames" . | fromJsonArray -}}
{{- $name = first . | replace "*" $full -}}
{{- end -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The Secret of a declared key: (list ROOT KEY). */}}
{{- define "cairn.keySecret" -}}
{{- $root := index . 0 -}}
{{- $key := index . 1 -}}
{{- default (printf "%s-%s" (include "cairn.fullname" $root) $key.name) $key.secret -}}
{{- end -}}

{{/* Refuses a profile that no disks can take, as the server does at its start: (list ROOT WHERE PROFILE). */}}
{{- define "cairn.checkProfile" -}}
{{- $there := int (index . 0).Values.disks.count -}}
{{- $where := index . 1 -}}
{{- $profile := default "auto" (index . 2) -}}
{{- if ne $profile "auto" -}}
{{- $units := splitList "+" $profile -}}
{{- $needed := add (first $units) (last $units) -}}
{{- if gt $needed $there -}}
{{- fail (printf "%s: %s needs %d disks, there are %d" $where $profile $needed $there) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The server's configuration as a dictionary in JSON. What the schema cannot express of what the server refuses is
refused here: a start that fails takes the store away. */}}
{{- define "cairn.config" -}}
{{- $full := include "cairn.fullname" . -}}
{{- $folders := list -}}
{{- range $number := until (int .Values.disks.count) -}}
{{- $folders = append $folders (printf "/var/lib/cairn/disk-%d" $number) -}}
{{- end -}}
{{- /* Not everywhere: a kernel without IPv6 has no such address. */ -}}
{{- $listen := list "0.0.0.0:9000" -}}
{{- if has .Values.service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack") -}}
{{- $listen = append $listen "[::]:9000" -}}
{{- end -}}
{{- $config := dict "meta" "/var/lib/cairn/meta" "disk" $folders "s3-listen" $listen -}}
{{- $_ := set $config "profile" .Values.profile -}}
{{- $_ := set $config "shutdown-limit" (printf "%ds" (int .Values.shutdownLimitSeconds)) -}}
{{- $_ := set $config "log-format" .Values.logging.format -}}
{{- $_ := set $config "log-level" .Values.logging.level -}}
{{- $_ := set $config "s3-domain" .Values.s3Domains -}}
{{- $kubernetes := dict -}}
{{- if eq .Values.tls.mode "builtin" -}}
{{- $_ := set $config "tls" "auto" -}}
{{- $tlsNames := include "cairn.tlsNames" . | fromJsonArray -}}
{{- if gt (len $tlsNames) 64 -}}
{{- fail (printf "tls.names, s3Domains, ingress.hosts, gateway.hostnames: the certificate would have %d names, with those of the services; 64 are the most" (len $tlsNames)) -}}
{{- end -}}
{{- $_ := set $config "tls-name" $tlsNames -}}
{{- else if eq .Values.tls.mode "off" -}}
{{- $_ := set $config "tls" "off" -}}
{{- else -}}
{{- $_ := set $config "tls" "/etc/cairn-tls/tls.crt,/etc/cairn-tls/tls.key" -}}
{{- end -}}
{{- if include "cairn.publishesCa" . -}}
{{- $_ := set $kubernetes "ca-config-map" (printf "%s-ca" $full) -}}
{{- end -}}
{{- if not .Values.rootKey.existingSecret -}}
{{- $_ := set $kubernetes "root-secret" (printf "%s-root" $full) -}}
{{- end -}}
{{- $_ := set $config "kubernetes" $kubernetes -}}
{{- $names := list -}}
{{- $buckets := list -}}
{{- include "cairn.checkProfile" (list . "profile" .Values.profile) -}}
{{- range index .Values.config "storage-class" -}}
{{- $words := splitList "=" . -}}
{{- include "cairn.checkProfile" (list $ (printf "config: storage-class %s" (first $words)) (last $words)) -}}
{{- end -}}
{{- range .Values.buckets -}}
{{- include "cairn.checkProfile" (list $ (printf "buckets: %s: profile" .name) .profile) -}}
{{- if has .name $names -}}
{{- fail (printf "buckets: %s is declared twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $buckets = append $buckets (pick . "name" "cache" "quota" "profile" "etag") -}}
{{- end -}}
{{- $_ := set $config "bucket" $buckets -}}
{{- $secrets := list (printf "%s-root" $full) -}}
{{- $keys := list -}}
{{- $keyNames := list -}}
{{- range .Values.keys -}}
{{- if has .name $keyNames -}}
{{- fail (printf "keys: %s is declared twice" .name) -}}
{{- end -}}
{{- $keyNames = append $keyNames .name -}}
{{- if gt (len (default "" .prefix)) 1024 -}}
{{- fail (printf "keys: the prefix of %s has %d bytes; 1024 are the most" .name (len .prefix)) -}}
{{- end -}}
{{- if not (has .bucket $names) -}}
{{- fail (printf "keys: %s names the bucket %s, which is not among buckets" .name .bucket) -}}
{{- end -}}
{{- $secret := include "cairn.keySecret" (list $ .) -}}
{{- if has $secret $secrets -}}
{{- fail (printf "keys: the secret %s of %s is another key's: each needs a secret of its own" $secret .name) -}}
{{- end -}}
{{- $secrets = append $secrets $secret -}}
{{- $keys = append $keys (dict "name" .name "bucket" .bucket "prefix" (default "" .prefix) "read-only" (default false .readOnly) "secret" $secret) -}}
{{- end -}}
{{- $_ := set $config "key" $keys -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $config $name $value -}}
{{- end -}}
{{- $config | toJson -}}
{{- end -}}

{{/* A probe: (list ROOT PATH SETTINGS). */}}
{{- define "cairn.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: s3
  scheme: {{ ternary "HTTP" "HTTPS" (eq $root.Values.tls.mode "off") }}
{{ toYaml (index . 2) }}
{{- end -}}

{{/* A claim: (list ROOT NAME SIZE CLASS). Its labels cannot change, so they hold no version. */}}
{{- define "cairn.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ index . 1 }}
    labels: {{- include "cairn.selectorLabels" (index . 0) | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with index . 3 }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ index . 2 }}
{{- end -}}
