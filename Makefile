# What a user runs. Needs the .NET 10 SDK; packages restore by name on first use.
.PHONY: build demo test samples clean

build:
	dotnet build FedRLora.sln -c Release -v quiet

demo:
	./fedrlora simulate samples/demo.yaml

test:
	eng/test.sh

# Remakes the sample tasks, tokenizer and base model from their seeds (about ten minutes).
samples:
	dotnet run -c Release --project samples/Generator -- all

clean:
	rm -rf artifacts runs
	find src tests samples -type d \( -name bin -o -name obj \) -prune -exec rm -rf {} +
