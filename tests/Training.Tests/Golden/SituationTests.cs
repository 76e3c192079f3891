using System.Text;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using TorchSharp;

namespace FedRLora.Training.Tests.Golden;

/// <summary>Reported situations with the files that came with them: each is computed rightly, or refused by what is wrong in it.</summary>
public sealed class SituationTests : IDisposable
{
    private static readonly Dictionary<string, Func<SituationTests, string, Task>> Checks = new(StringComparer.Ordinal)
    {
        ["01-pissa-adapter"] = static (test, folder) => test.RefusesAsync(["init_lora_weights", "path_initial_model_for_weight_conversion"],
            adapter: folder),
        ["02-rows-not-utf8"] = static (test, folder) => test.RefusesAsync(["cp1252.jsonl:1: byte 0xF6 is not UTF-8"],
            rows: Path.Combine(folder, "cp1252.jsonl")),
        ["03-labels-of-answers-without-text"] = static async (test, folder) =>
        {
            var model = test.With(("chat_template.jinja", Path.Combine(folder, "chat_template.jinja")));
            var parts = await ScoreAsync(model, null, Path.Combine(folder, "parts.jsonl"), Metric.Accuracy);
            var plain = await ScoreAsync(model, null, Path.Combine(folder, "plain.jsonl"), Metric.Accuracy);
            var mixed = test.Lines(
                [.. File.ReadLines(Path.Combine(folder, "parts.jsonl")).Take(1),
                    .. File.ReadLines(Path.Combine(folder, "plain.jsonl")).Skip(1)]);
            Assert.Equal((0.5, 0.5), (plain.Score, plain.MajorityShare)); // neither answer is likelier for one animal than for the other
            Assert.All([parts, await ScoreAsync(model, null, mixed, Metric.Accuracy)], score =>
                Assert.Equal((plain.Score, plain.Loss, plain.MajorityShare), (score.Score, score.Loss, score.MajorityShare)));
            var shuffled = await TrainedAsync(folder, "plan-shuffle-true.yaml", model);
            Assert.NotEqual(shuffled.Numbers.MeanLoss, (await TrainedAsync(folder, "plan-shuffle-false.yaml", model)).Numbers.MeanLoss);
        },
        ["04-rope-type-twice"] = static async (test, folder) => Assert.True(double.IsFinite((await ScoreAsync(
            test.With(("config.json", Path.Combine(folder, "config-rope-both-linear.json"))), null, test.Rows())).Loss)),
        ["05-null-columns"] = static async (_, folder) => Assert.Equal(2,
            (await ScoreAsync(Stories, null, Path.Combine(folder, "columns.jsonl"))).Rows),
        ["06-tied-head-that-differs"] = static (test, _) => test.RefusesAsync(["lm_head.weight", "model.embed_tokens.weight"],
            test.Changed(static tensors =>
            {
                var embedding = tensors["model.embed_tokens.weight"];
                tensors["lm_head.weight"] = embedding with { Data = new float[embedding.Data.Length] };
            })),
        ["07-end-token-unknown"] = static (test, folder) => test.RefusesAsync(["eos_token is <|im_end|>"], test.With(
            ("tokenizer_config.json", Path.Combine(folder, "tokenizer_config.json")),
            ("config.json", Path.Combine(folder, "config-without-eos.json")))),
        ["08-added-tokens-elsewhere"] = static (test, folder) => test.RefusesAsync(
            ["<|im_end|>"], test.With(("tokenizer_config.json", Path.Combine(folder, "tokenizer_config.json")))),
        ["10-config-keys-without-influence"] = static async (test, folder) =>
        {
            var expected = await ScoreAsync(Stories, null, test.Rows());
            foreach (var config in Directory.GetFiles(folder, "*.json"))
                Assert.Equal(expected.Loss, (await ScoreAsync(test.With(("config.json", config)), null, test.Rows())).Loss);
        },
        ["13-adapter-named-default"] = static async (test, folder) =>
        {
            var expected = (await ScoreAsync(Stories,
                test.Renamed(folder, static name => name.Replace(".default", "", StringComparison.Ordinal)), test.Rows())).Loss;
            var bare = test.Renamed(folder, static name => name.Replace("base_model.model.", "", StringComparison.Ordinal));
            Assert.NotEqual(expected, (await ScoreAsync(Stories, null, test.Rows())).Loss);
            Assert.Equal(expected, (await ScoreAsync(Stories, folder, test.Rows())).Loss);
            Assert.Equal(expected, (await ScoreAsync(Stories, bare, test.Rows())).Loss);
        },
        ["15-prompt-ends-with-the-end-token"] = static async (test, folder) =>
        {
            var model = test.With(Directory.GetFiles(folder).Select(static file => (Path.GetFileName(file), file)));
            Assert.Equal(await ContinuedAsync(Stories), await ContinuedAsync(model));
        },
        ["17-client-with-one-label"] = static async (_, folder) =>
        {
            foreach (var plan in (string[])["plan-accuracy.yaml", "plan-auto.yaml"])
            {
                var scores = await EvaluatedAsync(folder, plan);
                Assert.All(scores, static score => Assert.Equal(("accuracy", null), (score.Metric, score.Failure)));
                Assert.Single(scores.Select(static score => score.Frame).Distinct());
                Assert.Contains(scores[1].Notes, static note => note.Kind == DataNoteKind.OneLabelScored);
            }

            // With b's rows alone, which have one label, there is nothing to choose.
            var alone = PlanReader.Require(File.ReadAllText(Path.Combine(folder, "plan-accuracy.yaml")), "plan");
            var b = Assert.Single(await EvaluatedAsync(folder, alone with { Clients = [alone.Clients[1]] }));
            Assert.StartsWith("accuracy: \"yes\" is the only label of the task", b.Failure, StringComparison.Ordinal);
            var declared = new Dictionary<string, TaskSpec> { ["x"] = new() { Labels = [new("yes", []), new("no", [])] } };
            Assert.Equal("accuracy",
                Assert.Single(await EvaluatedAsync(folder, alone with { Clients = [alone.Clients[1]], Tasks = declared })).Metric);
        },
        ["20-base-not-finite"] = static async (test, folder) =>
        {
            foreach (var value in (float[])[float.NaN, float.PositiveInfinity])
            {
                var model = test.Changed(tensors => tensors["model.layers.2.mlp.down_proj.weight"].Data[0] = value);
                string[] named = ["model.layers.2.mlp.down_proj.weight", "[0, 0]"];
                await test.RefusesAsync(named, model, rows: Path.Combine(folder, "rows.jsonl"));
                var refused = Assert.Throws<BadInputException>(
                    () => MergedModel.Write(model, Path.Combine(folder, "zero"), Path.Combine(model, "merged")));
                Assert.All(named, name => Assert.Contains(name, refused.Message, StringComparison.Ordinal));
            }
        },
        ["22-first-rows-of-a-sorted-file"] = static async (_, folder) =>
        {
            var (rows, spec) = (Path.Combine(folder, "rows.jsonl"), new EvaluationSpec { MaxRows = 8 });
            var eval = await Of(Stories, null, loaded => loaded.ScoreAsync(rows, spec, maxTokens: 64));
            var run = Assert.Single(await EvaluatedAsync(folder, "plan.yaml"));
            Assert.Equal(("accuracy", 8, run.Score), (eval.Metric, eval.Rows, eval.Score));
            Assert.InRange(eval.MajorityShare!.Value, 0.5, 0.9);
            Assert.InRange(eval.Score, 0.1, 0.9);
        },
        ["23-answer-longer-than-the-bound"] = static async (_, folder) =>
        {
            var rows = Path.Combine(folder, "rows.jsonl");
            Assert.Equal(1, (await ScoreAsync(Stories, null, rows, Metric.ExactMatch)).Score);
            var spec = new EvaluationSpec { Metric = Metric.ExactMatch, MaxNewTokens = 39 };
            var bounded = await Of(Stories, null, loaded => loaded.ScoreAsync(rows, spec, maxTokens: 256));
            Assert.Equal((0, DataNoteKind.AnswerTooLong), (bounded.Score, Assert.Single(bounded.Notes).Kind));
        },
        ["24-one-label-in-several-spellings"] = static async (_, folder) =>
        {
            foreach (var rows in (string[])["wordings.jsonl", "spaces.jsonl"])
            {
                var score = await ScoreAsync(Stories, null, Path.Combine(folder, rows), Metric.Auto);
                Assert.Equal(("accuracy", 0.75), (score.Metric, score.MajorityShare));
                Assert.Contains(score.Score, (double[])[0.25, 0.75]); // equal prompts get equal answers
            }
        },
        ["25-many-labels-and-auto"] = static async (test, _) =>
        {
            Assert.Equal("accuracy", (await ScoreAsync(Stories, null, Numbers(256), Metric.Auto)).Metric);
            var many = await ScoreAsync(Stories, null, Numbers(257), Metric.Auto);
            Assert.Equal(("perplexity", new() { Kind = DataNoteKind.AutoManyLabels, Count = 257, Of = 256 }),
                (many.Metric, Assert.Single(many.Notes)));

            string Numbers(int labels) =>
                test.Lines(Enumerable.Range(0, labels).Select(static row => $$"""{"text": "The number is", "label": "n{{row}}"}"""));
        },
        ["26-perplexity-beyond-numbers"] = static (test, folder) => test.RefusesAsync(
            ["perplexity: the test loss is 2305.418 per token"], rows: Path.Combine(folder, "rows.jsonl"),
            model: test.Changed(static tensors =>
            {
                var norm = tensors["model.norm.weight"];
                tensors["model.norm.weight"] = norm with { Data = [.. norm.Data.Select(static value => 1000 * value)] };
            })),
        ["27-beyond-float16"] = static (test, _) =>
        {
            var model = test.Changed(static tensors => tensors["model.layers.2.mlp.down_proj.weight"].Data[0] = 70000);
            var refused = Assert.Throws<BadInputException>(() => FrozenBase.Load(model, torch.CPU, WeightStorage.Float16));
            Assert.Contains("model.layers.2.mlp.down_proj.weight has 70000 at [0, 0], which float16 cannot hold", refused.Message,
                StringComparison.Ordinal);
            return Task.CompletedTask;
        },
        ["28-warm-up-of-a-client"] = static (_, folder) =>
        {
            Assert.Contains("training.warmupSteps", Problem("plan-refused.yaml"), StringComparison.Ordinal);
            Assert.StartsWith(
                "clients[1].steps: 1 steps in 2 rounds are fewer than the 4 of training.warmupSteps", Problem("plan.yaml"),
                StringComparison.Ordinal);
            return Task.CompletedTask;

            string Problem(string plan) =>
                Assert.Single(PlanReader.Read(File.ReadAllText(Path.Combine(folder, plan)), plan).Problems).Message;
        },
        ["29-layers-that-do-not-exist"] = static async (_, folder) =>
        {
            using var trainer = new LocalTrainer(new() { Root = folder });
            foreach (var (plan, named) in ((string, string)[])[("plan-layers.yaml", "layersToTransform: no target is in layer 99"),
                ("plan-exclude.yaml", "dwon_proj")])
            {
                var read = PlanReader.Require(File.ReadAllText(Path.Combine(folder, plan)), plan);
                var refused = await Assert.ThrowsAsync<BadInputException>(() => trainer.InitialSharedAsync(read));
                Assert.Contains(named, refused.Message, StringComparison.Ordinal);
            }
        },
        ["30-labels-cut-to-one"] = static async (_, folder) =>
        {
            var rows = Path.Combine(folder, "rows.jsonl");
            var refused = await Assert.ThrowsAsync<BadInputException>(() => ScoreOfAsync(8));
            Assert.EndsWith("are cut to the same tokens; give maxTokens: 19 or more", refused.Message, StringComparison.Ordinal);
            var cut = await ScoreOfAsync(19);
            Assert.Equal((0.125, DataNoteKind.PromptLost, 8), (cut.Score, Assert.Single(cut.Notes).Kind, cut.Notes[0].Count));
            Assert.Equal((0.125, 0), ((await ScoreOfAsync(256)).Score, (await ScoreOfAsync(256)).Notes.Count));

            Task<EvaluationResult> ScoreOfAsync(int maxTokens) => Of(Stories, null, loaded => loaded.ScoreAsync(rows, new(), maxTokens));
        },
        ["41-test-rows-in-training"] = static async (_, folder) =>
        {
            var score = Assert.Single(await EvaluatedAsync(folder, "plan.yaml"));
            Assert.Equal(new() { Kind = DataNoteKind.TrainedOn, Count = 6, Of = 6 }, Assert.Single(score.Notes));
        },
        ["44-label-that-begins-another"] = static async (test, folder) =>
        {
            var endless = test.With();
            foreach (var (file, key) in ((string, string)[])
                [("config.json", "eos_token_id"), ("tokenizer_config.json", "eos_token"), ("special_tokens_map.json", "eos_token")])
            {
                var values = JsonNode.Parse(File.ReadAllText(Path.Combine(Stories, file)))!;
                values[key] = null;
                File.Delete(Path.Combine(endless, file));
                File.WriteAllText(Path.Combine(endless, file), values.ToJsonString());
            }

            File.Delete(Path.Combine(endless, "generation_config.json"));
            var refused = Assert.Single(await EvaluatedAsync(folder, "plan-M.yaml", endless)).Failure;
            Assert.Contains("the label \"very\" begins \"very happy\"", refused, StringComparison.Ordinal);
            Assert.Null(Assert.Single(await EvaluatedAsync(folder, "plan-S.yaml")).Failure);
        },
    };

    private static Task<string> ContinuedAsync(string model) => Of(model, null, async loaded =>
    {
        var text = new StringBuilder();
        await loaded.ContinueAsync("Once upon a time", new() { MaxNewTokens = 12 }, piece => text.Append(piece));
        return text.ToString();
    });

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Places => Fixtures.Of("situation/*");

    [SharedTheory, MemberData(nameof(Places))]
    public Task It_has_its_right_outcome(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        Assert.True(Checks.TryGetValue(name, out var check), $"{name}: neither a check here nor a line in not-yet.txt");
        return check(this, SharedFolder.Of(folder, name));
    }

    public void Dispose() => _folder.Dispose();

    private static string Stories => SharedFolder.Of("models", "stories260k");

    private static Task<EvaluationResult> ScoreAsync(string model, string? adapter, string rows, Metric metric = Metric.Perplexity) =>
        Of(model, adapter, loaded => loaded.ScoreAsync(rows, new EvaluationSpec { Metric = metric }, maxTokens: 512));

    private static async Task<T> Of<T>(string model, string? adapter, Func<AdaptedModel, Task<T>> work)
    {
        using var loaded = await AdaptedModel.LoadAsync(model, adapter);
        return await work(loaded);
    }

    // As a federation scores the start of a plan.
    private static async Task<IReadOnlyList<EvaluationResult>> EvaluatedAsync(string folder, FederationPlan plan)
    {
        using var trainer = new LocalTrainer(new() { Root = folder });
        return await trainer.EvaluateAsync(await GroupAsync(trainer, plan));
    }

    private static Task<IReadOnlyList<EvaluationResult>> EvaluatedAsync(string folder, string plan, string? model = null) =>
        EvaluatedAsync(folder, PlanOf(folder, plan, model));

    private static async Task<TrainingResult> TrainedAsync(string folder, string plan, string model)
    {
        using var trainer = new LocalTrainer(new() { Root = folder });
        return Assert.Single(await trainer.TrainAsync(await GroupAsync(trainer, PlanOf(folder, plan, model))));
    }

    private static FederationPlan PlanOf(string folder, string plan, string? model)
    {
        var read = PlanReader.Require(File.ReadAllText(Path.Combine(folder, plan)), plan);
        return model is null ? read : read with { Model = new() { Path = model } };
    }

    private static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan) => new()
    {
        Plan = plan, Round = 1, Shared = await trainer.InitialSharedAsync(plan),
        Members = [.. plan.Clients.Select(static client => new GroupMember { Client = client })],
    };

    private string Lines(IEnumerable<string> lines)
    {
        var path = _folder.File(Path.GetRandomFileName());
        File.WriteAllLines(path, lines);
        return path;
    }

    private async Task RefusesAsync(string[] named, string? model = null, string? adapter = null, string? rows = null)
    {
        var refused = await Assert.ThrowsAsync<BadInputException>(() => ScoreAsync(model ?? Stories, adapter, rows ?? Rows()));
        Assert.All(named, name => Assert.Contains(name, refused.Message, StringComparison.Ordinal));
    }

    private string Rows()
    {
        File.WriteAllText(_folder.File("rows.jsonl"), """{"prompt": "Once upon a time", "completion": "there was a girl"}""");
        return _folder.File("rows.jsonl");
    }

    private string Renamed(string adapter, Func<string, string> rename)
    {
        var folder = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        File.Copy(Path.Combine(adapter, "adapter_config.json"), Path.Combine(folder, "adapter_config.json"));
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(Path.Combine(adapter, "adapter_model.safetensors")), adapter);
        using var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors"));
        SafetensorsCodec.Write(
            new AdapterState(tensors.Select(entry => KeyValuePair.Create(rename(entry.Key), entry.Value))),
            new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return folder;
    }

    // The model with other weights.
    private string Changed(Action<Dictionary<string, NamedArray>> change)
    {
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(Path.Combine(Stories, "model.safetensors")), Stories)
            .ToDictionary(static entry => entry.Key, static entry => entry.Value);
        change(tensors);
        var model = With();
        File.Delete(Path.Combine(model, "model.safetensors"));
        using var stream = File.Create(Path.Combine(model, "model.safetensors"));
        SafetensorsCodec.Write(new AdapterState(tensors), new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return model;
    }

    // The model with some files in the place of its own.
    private string With(params IEnumerable<(string Name, string Path)> files)
    {
        var model = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        foreach (var file in Directory.EnumerateFiles(Stories)) File.CreateSymbolicLink(Path.Combine(model, Path.GetFileName(file)), file);
        foreach (var (name, path) in files)
        {
            File.Delete(Path.Combine(model, name));
            File.Copy(path, Path.Combine(model, name));
        }

        return model;
    }
}
