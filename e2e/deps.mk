# Foreign products, images and the local cluster. Included by the root Makefile.
E2E = cargo run --quiet --package firstlight-e2e --

.PHONY: deps
deps: setup ## Build the slow foreign products into the cache (resumable)
	@$(E2E) deps

.PHONY: deps-verify
deps-verify: setup ## Compare the cache with its manifests
	@$(E2E) deps-verify

.PHONY: images
images: binaries deps ## Write container images as OCI archives into build/images
	@$(E2E) images

.PHONY: cluster-up
cluster-up: setup ## Start the local cluster, or what of it is not running (needs root)
	@$(E2E) cluster up

.PHONY: cluster-images
cluster-images: ## Import build/images into the local cluster
	@$(E2E) cluster import

.PHONY: cluster-down
cluster-down: ## End the local cluster and remove every trace of it
	@$(E2E) cluster down

.PHONY: cluster-status
cluster-status: ## Say what of the local cluster runs
	@$(E2E) cluster status

# Whoever needs helm by a file target gets the product.
$(FIRSTLIGHT_CACHE)/current/%: | setup
	@$(E2E) deps $(firstword $(subst /, ,$*))
