# What a user runs. Needs the .NET 10 SDK; packages restore by name on first use.
.PHONY: build demo test release release-test image image-test soak bench bench-training bench-byzantine bench-defaults bench-scopes bench-telemetry bench-tls bench-tokenizers bench-wall samples chart clean

build:
	dotnet build FedRLora.sln -c Release -v quiet

# Prints the address of its page while it goes on, and where its report and its picture are at the end.
demo:
	./fedrlora simulate samples/demo.yaml --dashboard

test:
	eng/test.sh

# Archives for machines without .NET, in artifacts/release (docs/releases.md).
release:
	eng/release.sh

# The archive in an empty root of Debian, with the demo (some minutes; root and debootstrap, skipped without).
release-test:
	eng/release-test.sh

# An image on BASE=IMAGE, which has to be said.
image:
	eng/image.sh

# The images of both ways on a Debian base, two silos of each (some minutes; root, buildah and more, skipped without).
image-test:
	eng/image-test.sh

# The long forms: twenty kills instead of three, twenty thousand mutations of each kind of file instead of some hundred, a store that
# is away for twenty seconds instead of three, a crash in every store operation of a run and a power cut after every step of its disks instead of some two dozen, every seventh byte
# of every blob flipped, a hundred thousand orders of events, silos killed every three seconds (six processes, found by Redis and by tables) and every second (twenty
# seeds), a Redis that is away for more than a minute and comes back empty; five seeds of plain LoRA beside PEFT, and of the default
# method beside plain LoRA; forty steps on a real model's blocks; the owners of tensors in every method; sites on a network that is cut; the
# release archive and the images on a Debian without .NET.
soak:
	FEDRLORA_FUZZ=20000 dotnet test tests/Training.Tests -c Release --nologo --filter "FullyQualifiedName~Fuzz|FullyQualifiedName~Hostile|FullyQualifiedName~mutated"
	FEDRLORA_SOAK=1 dotnet test tests/Training.Tests -c Release --nologo --filter "DefaultMethodTests|RealModelTrainingTests|TaskScopeTests" --logger "console;verbosity=detailed"
	FEDRLORA_ORDERS=100000 dotnet test tests/Federation.Tests -c Release --nologo --filter RoundMachinePropertyTests
	FEDRLORA_SOAK=1 dotnet test tests/Grains.Tests -c Release --nologo --filter "FullyQualifiedName~AzureOutage|FullyQualifiedName~FederationOnAzure|FullyQualifiedName~CrashTests|FullyQualifiedName~PowerCut|FullyQualifiedName~RunVerifierTests|FullyQualifiedName~StoreTrouble" --logger "console;verbosity=detailed"
	FEDRLORA_KILLS=20 dotnet test tests/EndToEnd.Tests -c Release --nologo --filter KilledRunTests --logger "console;verbosity=detailed"
	FEDRLORA_SOAK=1 dotnet test tests/EndToEnd.Tests -c Release --nologo --filter "KilledSilosTests|EmptyRedisTests|CutSitesTests|AddressTests|RunningPageTests" --logger "console;verbosity=detailed"
	FEDRLORA_SOAK=1 dotnet test tests/Grains.Tests -c Release --nologo --filter LostSilosTests --logger "console;verbosity=detailed"
	eng/release-test.sh
	eng/image-test.sh

# Rounds without training, in one silo and between two, beside a memory copy and plain files of the same bytes.
bench:
	dotnet run -c Release --project tests/Benchmarks -- rounds

# The training step beside an eager one, PyTorch's, its matrix products alone, itself without grouping, and on lanes (about half an hour); a part by name, as ARGS="steps --threads 1".
bench-training:
	dotnet run -c Release --project tests/Benchmarks -- training $(ARGS)

# Every attack on the demo against every rule of aggregation (about a quarter of an hour); a part by name, as ARGS="--attacks nan,huge --reducers mean,median --rounds 4".
bench-byzantine:
	dotnet run -c Release --project tests/Benchmarks -- byzantine $(ARGS)

# The method of a plan that names none beside plain LoRA, on public tasks (an hour); SHARED is the folder of reference material, a part by name, as ARGS="--tasks trec --steps 120".
SHARED ?= ../shared
bench-defaults:
	dotnet run -c Release --project tests/Benchmarks -- defaults $(SHARED) $(ARGS)

# Heads that belong to a client, to a task or to all, and nothing shared, on the sample tasks and on public ones (half an hour of processor
# time, three quarters of it the public tasks', which are skipped without SHARED); a part by name, as ARGS="--cases mixed,one-task --seeds 1,2".
bench-scopes:
	dotnet run -c Release --project tests/Benchmarks -- scopes $(SHARED) $(ARGS)

# Processor time of a silo that trains with all telemetry on beside one with none (a quarter of an hour); more pairs as ARGS="--runs 40".
bench-telemetry:
	dotnet run -c Release --project tests/Benchmarks -- telemetry $(ARGS)

# Start, rounds, processor time and memory of two silos with mutual TLS beside the same without (two minutes).
bench-tls:
	dotnet run -c Release --project tests/Benchmarks -- tls

# Tokenizers beside the npm package @huggingface/tokenizers.
bench-tokenizers:
	dotnet run -c Release --project tests/Benchmarks -- tokenizers

# The page of 1,000 clients and 500 rounds in chromium: first paint, update, memory (five minutes); a part by name, as ARGS="--tasks 10 --clients 100 --rounds 50".
bench-wall:
	npm ci --prefix tests/wall --loglevel error
	dotnet run -c Release --project tests/Benchmarks -- wall $(ARGS)

# Remakes the sample tasks, tokenizer and base model from their seeds (about six minutes).
samples:
	dotnet run -c Release --project samples/Generator -- all

# The kustomize bases of deploy/k8s, from the chart beside them, and the chart's copies of deploy/telemetry.
chart:
	eng/chart.sh

clean:
	rm -rf artifacts runs
	find src tests samples -type d \( -name bin -o -name obj \) -prune -exec rm -rf {} +
