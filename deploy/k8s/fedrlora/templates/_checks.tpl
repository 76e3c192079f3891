{{- /* What the schema cannot say: values that are needed, and values that do not go together. All of them are told at once. */ -}}
{{- define "fedrlora.checks" -}}
{{- $v := .Values }}
{{- $p := list }}
{{- if and (eq $v.role "site") (not $v.site) }}
{{- $p = append $p "site: name the site, as in its certificate" }}
{{- end }}
{{- if not $v.image.repository }}
{{- $p = append $p "image.repository: name the image" }}
{{- end }}
{{- if not (or $v.image.tag $v.image.digest) }}
{{- $p = append $p "image.tag: name a version, or image.digest" }}
{{- end }}
{{- if and $v.image.tag $v.image.digest }}
{{- $p = append $p "image.tag and image.digest exclude each other: leave one empty" }}
{{- end }}
{{- if eq $v.image.tag "latest" }}
{{- $p = append $p "image.tag: latest says not which version runs; name one, or image.digest" }}
{{- end }}
{{- if not $v.membership.url }}
{{- $p = append $p "membership.url: name where silos find one another, rediss://HOST:PORT or https://ACCOUNT.table.core.windows.net/TABLE" }}
{{- end }}
{{- /* No message repeats a URL: what is wrong with it may be the secret in it. */ -}}
{{- if and $v.membership.url (not (regexMatch "^(rediss?|https)://[^?#@\\s]+$" $v.membership.url)) }}
{{- $p = append $p "membership.url: is none of redis://, rediss:// and https:// without user, password and query; those belong in membership.user and a secret" }}
{{- end }}
{{- $table := hasPrefix "https:" $v.membership.url }}
{{- if and $table (eq $v.membership.credential "password") }}
{{- $p = append $p "membership.credential: tables take identity, sas or connectionString" }}
{{- end }}
{{- if and $v.membership.url (not $table) (has $v.membership.credential (list "sas" "connectionString")) }}
{{- $p = append $p "membership.credential: Redis takes password, or identity for none" }}
{{- end }}
{{- if and (not (hasPrefix "rediss:" $v.membership.url)) $v.membership.tls.existingSecret }}
{{- $p = append $p "membership.tls.existingSecret: is for rediss:// alone" }}
{{- end }}
{{- if and $v.membership.tls.clientCertificate (not $v.membership.tls.existingSecret) }}
{{- $p = append $p "membership.tls.existingSecret: name the secret with the client's tls.crt and tls.key" }}
{{- end }}
{{- if not (or $v.store.url $v.store.existingClaim) }}
{{- $p = append $p "store.url: name the job's container, or a claim that all silos mount in store.existingClaim" }}
{{- end }}
{{- if and (eq $v.role "site") (not (or $v.siteStore.url $v.siteStore.existingClaim)) }}
{{- $p = append $p "siteStore.url: name the site's own container, or a claim in siteStore.existingClaim; heads would lie in the job's store" }}
{{- end }}
{{- range $name, $store := dict "store" $v.store "siteStore" $v.siteStore }}
{{- if and $store.url (not (regexMatch "^https://[^?#@\\s]+$" $store.url)) }}
{{- $p = append $p (printf "%s.url: is no https:// URL without a query; a signature belongs in %s.existingSecret" $name $name) }}
{{- end }}
{{- if and $store.url $store.existingClaim }}
{{- $p = append $p (printf "%s.url and %s.existingClaim exclude each other: leave one empty" $name $name) }}
{{- end }}
{{- end }}
{{- range $name, $place := dict "store" $v.store "siteStore" $v.siteStore "membership" $v.membership }}
{{- if and (ne $place.credential "identity") (not $place.existingSecret) }}
{{- $p = append $p (printf "%s.existingSecret: name the secret that has the %s" $name $place.credential) }}
{{- end }}
{{- if and (eq $place.credential "identity") $place.existingSecret }}
{{- $p = append $p (printf "%s.credential: say what %s.existingSecret holds" $name $name) }}
{{- end }}
{{- end }}
{{- if and $v.silo.mlflow (not (regexMatch "^https?://[^?#@\\s]+$" $v.silo.mlflow)) }}
{{- $p = append $p "silo.mlflow: is no http:// or https:// URL without user and query; credentials are variables (secretEnv)" }}
{{- end }}
{{- if and (eq $v.role "site") (not $v.data.existingClaim) }}
{{- $p = append $p "data.existingClaim: name the claim with the site's rows" }}
{{- end }}
{{- if and (eq $v.role "hub") $v.data.existingClaim }}
{{- $p = append $p "data.existingClaim: a hub holds no rows; install a site for them" }}
{{- end }}
{{- if not $v.models.existingClaim }}
{{- $p = append $p "models.existingClaim: name the claim with base models; whoever trains or coordinates a run reads its base" }}
{{- end }}
{{- if and (eq $v.role "hub") (gt (int $v.gpu.count) 0) }}
{{- $p = append $p "gpu.count: a hub trains nothing; leave it 0" }}
{{- end }}
{{- if and (hasPrefix "cuda" $v.silo.device) (eq (int $v.gpu.count) 0) }}
{{- $p = append $p "silo.device: a pod that asks for no GPU sees none; give gpu.count" }}
{{- end }}
{{- if and (contains "/mig-" $v.gpu.resource) (gt (int $v.gpu.count) 1) }}
{{- $p = append $p "gpu.count: a process sees one part of a GPU, however many it gets; give 1 and more replicas" }}
{{- end }}
{{- if not (or $v.tls.existingSecret $v.certManager.enabled) }}
{{- $p = append $p "tls.existingSecret: name the secret with tls.crt, tls.key and ca.crt, or set certManager.enabled" }}
{{- end }}
{{- if and $v.certManager.enabled (not $v.certManager.issuer.name) }}
{{- $p = append $p "certManager.issuer.name: name the issuer of the trust domain" }}
{{- end }}
{{- if and $v.tls.bundle.revoked (not $v.tls.bundle.existingConfigMap) }}
{{- $p = append $p "tls.bundle.revoked: revoked.txt is looked for in tls.bundle.existingConfigMap; name it" }}
{{- end }}
{{- if ne (empty $v.control.oidc.authority) (empty $v.control.oidc.audience) }}
{{- $p = append $p "control.oidc: authority and audience belong together; give both or none" }}
{{- end }}
{{- if and $v.workloadIdentity.enabled (not $v.workloadIdentity.clientId) }}
{{- $p = append $p "workloadIdentity.clientId: name the identity of these pods alone" }}
{{- end }}
{{- if and $v.workloadIdentity.enabled (not $v.serviceAccount.create) (not $v.serviceAccount.name) }}
{{- $p = append $p "serviceAccount.name: the default account of a namespace has no identity of its own; name one, or set serviceAccount.create" }}
{{- end }}
{{- range $name, $value := $v.env }}
{{- if and (not (hasPrefix "/" $value)) (regexMatch "(?i)PASSWORD|SECRET|TOKEN|CONNECTION_STRING|_SAS$|_KEY$|_HEADERS$" $name) }}
{{- $p = append $p (printf "env.%s: may be a secret; put it into one and name that in secretEnv" $name) }}
{{- end }}
{{- end }}
{{- range $name := list "SITE" "POD_NAME" "POD_IP" "MEMBERSHIP" "CLUSTER_ID" "TRUST_DOMAIN" "STORE" "SITE_STORE" "FEDRLORA_REDIS_USER" "FEDRLORA_REDIS_CA" "FEDRLORA_REDIS_CERT" "FEDRLORA_REDIS_KEY" "HOME" "NVIDIA_VISIBLE_DEVICES" }}
{{- if hasKey $v.env $name }}
{{- $p = append $p (printf "env.%s: the chart sets it; use the value that it follows from" $name) }}
{{- end }}
{{- end }}
{{- range $name, $_ := $v.podLabels }}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component)|fedrlora/site|azure\\.workload\\.identity/use)$" $name }}
{{- $p = append $p (printf "podLabels.%s: the chart sets it" $name) }}
{{- end }}
{{- end }}
{{- range $i, $rule := $v.networkPolicy.extraEgress }}
{{- if not (or $rule.cidrs $rule.namespaces) }}
{{- $p = append $p (printf "networkPolicy.extraEgress[%d]: names no addresses, which would mean all; give cidrs or namespaces" $i) }}
{{- end }}
{{- end }}
{{- if $v.networkPolicy.enabled }}
{{- if not (or $v.networkPolicy.membership.cidrs $v.networkPolicy.membership.namespaces) }}
{{- $p = append $p "networkPolicy.membership: name the addresses (cidrs) or namespaces of the membership's server" }}
{{- end }}
{{- if and (or $v.store.url $v.siteStore.url) (not (or $v.networkPolicy.store.cidrs $v.networkPolicy.store.namespaces)) }}
{{- $p = append $p "networkPolicy.store: name the addresses (cidrs) of the stores; 0.0.0.0/0 where they have no fixed ones" }}
{{- end }}
{{- end }}
{{- if and $v.monitoring.podMonitor.enabled (not $v.monitoring.podMonitor.tokenSecret) }}
{{- $p = append $p "monitoring.podMonitor.tokenSecret: name the secret with a viewer's token, in this namespace" }}
{{- end }}
{{- if and $v.monitoring.podMonitor.enabled $v.control.tls.existingSecret (not $v.monitoring.podMonitor.serverName) }}
{{- $p = append $p "monitoring.podMonitor.serverName: name one that the certificate of control.tls.existingSecret has" }}
{{- end }}
{{- if $p }}
{{- fail (printf "%d value(s) to set right:\n  %s" (len $p) (join "\n  " $p)) }}
{{- end }}
{{- end }}
