using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using TorchSharp;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Prompts to a client's committed adapter, also while others train. Live tensors are the whole process's.</summary>
[Collection(nameof(LeakTests))]
public sealed class PromptTests : IDisposable
{
    private static readonly TimeSpan InTime = TimeSpan.FromSeconds(60);
    private static readonly Prompt Greedy = new() { Text = "one a", MaxNewTokens = 6 };
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("lora", 0.0)]
    [InlineData("lora", 0.9)]
    [InlineData("fedsa-lora", 0.0)]
    [InlineData("fedsa-lora", 0.9)]
    public async Task A_static_method_says_what_its_exported_adapter_says(string method, double temperature)
    {
        using var trainer = Trainer();
        var group = await TrainedAsync(trainer, _tiny.Plan(TinyFederation.TinyCatalogue(method)));
        var folder = Export(group);
        var prompt = Greedy with { Temperature = temperature, TopP = 0.9, Seed = 11, StopTexts = ["zz"] };

        using var adapted = await AdaptedModel.LoadAsync(Path.Combine(_tiny.Root, "model"), folder);
        var expected = new StringWriter();
        await adapted.ContinueAsync(prompt.Text, new()
        {
            MaxNewTokens = prompt.MaxNewTokens, Temperature = temperature, TopP = prompt.TopP, Seed = prompt.Seed,
            StopTexts = prompt.StopTexts,
        }, expected.Write);

        var text = await TextAsync(trainer, group, prompt);
        Assert.NotEmpty(text);
        Assert.Equal(expected.ToString(), text);
    }

    [Theory]
    [InlineData("r-lora")]
    [InlineData("hydra-lora")]
    [InlineData("r-lora-federated")]
    public async Task A_routed_method_answers_with_the_adapter_that_is_scored(string method)
    {
        using var trainer = Trainer();
        var group = await TrainedAsync(trainer, _tiny.Plan(TinyFederation.TinyCatalogue(method)));

        Assert.Equal(Direct(group, Greedy), await TextAsync(trainer, group, Greedy));
    }

    [Fact]
    public async Task Training_has_the_same_bits_with_prompts_between_its_steps_and_a_prompt_the_same_text()
    {
        using var trainer = Trainer();
        var answering = await TrainedAsync(trainer, _tiny.Plan(TinyFederation.TinyCatalogue("hydra-lora")));
        var training = Of(_tiny.Plan(TinyFederation.TinyCatalogue("r-lora")), steps: 60) with { Shared = answering.Shared };
        training = training with { Shared = await trainer.InitialSharedAsync(training.Plan) };
        var (alone, text) = (DigestOf(await trainer.TrainAsync(training)), await TextAsync(trainer, answering, Greedy));

        var beside = trainer.TrainAsync(training);
        var texts = new List<string>();
        while (!beside.IsCompleted) texts.Add(await TextAsync(trainer, answering, Greedy));

        Assert.Equal(alone, DigestOf(await beside));
        Assert.NotEmpty(texts);
        Assert.All(texts, said => Assert.Equal(text, said));
    }

    [Fact]
    public async Task A_prompt_is_answered_while_a_group_trains_on_the_only_lane()
    {
        using var trainer = Trainer();
        var answering = await TrainedAsync(trainer, _tiny.Plan());
        using var stop = new CancellationTokenSource();
        var live = Live();
        var training = trainer.TrainAsync(Of(_tiny.Plan(), steps: 1_000_000) with { Shared = answering.Shared }, stop.Token);
        while (torch.Tensor.TotalCount < live + 100 && !training.IsCompleted) await Task.Yield(); // it is at its steps

        Assert.NotEmpty(await TextAsync(trainer, answering, Greedy).WaitAsync(InTime));

        Assert.False(training.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => training.WaitAsync(InTime));
    }

    [Fact]
    public async Task A_base_that_is_loaded_for_a_prompt_between_two_steps_outlives_the_training()
    {
        foreach (var file in Directory.GetFiles(Path.Combine(_tiny.Root, "model")))
        {
            Directory.CreateDirectory(Path.Combine(_tiny.Root, "other"));
            File.Copy(file, Path.Combine(_tiny.Root, "other", Path.GetFileName(file)));
        }

        using var trainer = Trainer();
        var answering = await TrainedAsync(trainer, _tiny.Plan());
        var expected = await TextAsync(trainer, answering, Greedy);
        using var stop = new CancellationTokenSource();
        var live = Live();
        var training = trainer.TrainAsync(Of(_tiny.Plan(), steps: 1_000_000) with { Shared = answering.Shared }, stop.Token);
        while (torch.Tensor.TotalCount < live + 100 && !training.IsCompleted) await Task.Yield();
        var ofOther = answering with { Plan = answering.Plan with { Model = new() { Path = "other" } } };

        var during = await TextAsync(trainer, ofOther, Greedy).WaitAsync(InTime);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => training.WaitAsync(InTime));
        var after = await TextAsync(trainer, ofOther, Greedy).WaitAsync(InTime);

        Assert.Equal((expected, expected, 2), (during, after, trainer.Loads));
    }

    [Theory]
    [InlineData(Metric.ExactMatch)]
    [InlineData(Metric.Perplexity)]
    [InlineData(Metric.Accuracy)]
    public async Task A_prompt_is_answered_while_rows_are_scored_on_the_only_lane(Metric metric)
    {
        string[] labels = ["up", "down"];
        _tiny.Write("one.test.jsonl", Enumerable.Range(0, 50_000).Select(row => JsonSerializer.Serialize(
            new { prompt = $"one {(char)('a' + row % 26)}:", completion = labels[row % 2], label = labels[row % 2] })));
        using var trainer = Trainer();
        var plan = _tiny.Plan();
        var answering = await TrainedAsync(trainer, plan);
        using var stop = new CancellationTokenSource();
        var scoring = trainer.EvaluateAsync(
            answering with { Plan = plan with { Evaluation = new() { Metric = metric } } }, stop.Token);
        while (trainer.Scorings == 0 && !scoring.IsCompleted) await Task.Yield();

        Assert.NotEmpty(await TextAsync(trainer, answering, Greedy with { MaxNewTokens = 2 }).WaitAsync(InTime));

        Assert.False(scoring.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => scoring.WaitAsync(InTime));
    }

    [Fact]
    public async Task A_prompt_that_is_cancelled_or_left_holds_nothing_and_leaves_no_tensor()
    {
        using var trainer = Trainer(laneBytes: 1); // so that a prompt that held anything would keep all others out
        var group = await TrainedAsync(trainer, _tiny.Plan(TinyFederation.TinyCatalogue("r-lora")));
        await TextAsync(trainer, group, Greedy);
        var live = Live();

        using var cancel = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in trainer.PromptAsync(group, Greedy, cancel.Token)) await cancel.CancelAsync();
        });
        await foreach (var _ in trainer.PromptAsync(group, Greedy)) break;
        Assert.NotEmpty(await TextAsync(trainer, group, Greedy).WaitAsync(InTime));

        Assert.Equal(live, Live());
    }

    [Fact]
    public async Task What_cannot_be_answered_is_refused_by_name_before_anything_comes()
    {
        using var trainer = Trainer();
        var group = await TrainedAsync(trainer, _tiny.Plan());
        foreach (var (prompt, reason) in ((Prompt, string)[])[
            (Greedy with { IsChat = true }, "the model folder has no chat template"),
            (Greedy with { Text = new string('a', 500) }, "tokens leave no room"),
            (Greedy with { MaxNewTokens = 0 }, "maxNewTokens is 0"),
            (Greedy with { Temperature = double.NaN }, "temperature is NaN"),
            (Greedy with { TopP = 0 }, "topP is 0"),
            (Greedy with { StopTexts = [""] }, "a stop text is empty")])
        {
            var refused = await Assert.ThrowsAsync<BadInputException>(() => TextAsync(trainer, group, prompt));
            Assert.Contains(reason, refused.Message, StringComparison.Ordinal);
        }
    }

    private static long Live()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return torch.Tensor.TotalCount;
    }

    private LocalTrainer Trainer(long? laneBytes = null) => new(new() { Root = _tiny.Root, Lanes = 1, LaneBytes = laneBytes });

    private static TrainingGroup Of(FederationPlan plan, int steps) => new()
    {
        Plan = plan with { Training = plan.Training with { Steps = steps } }, Round = 1, Shared = AdapterState.Empty,
        Members = [new GroupMember { Client = TinyFederation.Client("two") }],
    };

    // Client one after a round, whose update is the next shared state.
    private static async Task<TrainingGroup> TrainedAsync(LocalTrainer trainer, FederationPlan plan)
    {
        plan = plan with { Training = plan.Training with { LearningRate = 0.1, Steps = 12 } };
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var result = Assert.Single(await trainer.TrainAsync(group));
        Assert.Null(result.Failure);
        var shared = group.Shared.Select(entry => result.Update.TryGetValue(entry.Key, out var update)
            ? KeyValuePair.Create(entry.Key, entry.Value with { Data = [.. entry.Value.Data.Zip(update.Data, static (a, b) => a + b)] })
            : entry);
        return group with { Shared = new(shared), Members = [group.Members[0] with { Head = result.Head }] };
    }

    private static async Task<string> TextAsync(LocalTrainer trainer, TrainingGroup group, Prompt prompt)
    {
        var text = new StringWriter();
        await foreach (var piece in trainer.PromptAsync(group, prompt)) text.Write(piece);
        return text.ToString();
    }

    private string Export(TrainingGroup group)
    {
        var folder = Path.Combine(_tiny.Root, "exported");
        Directory.CreateDirectory(folder);
        var exported = new PeftExporter(_tiny.Root).Export(
            group.Plan, group.Round, group.Members[0].Client, group.Shared, group.Members[0].Head);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), exported.ConfigJson);
        using var file = File.Create(Path.Combine(folder, "adapter_model.safetensors"));
        SafetensorsCodec.Write(exported.Tensors, exported.Metadata, file);
        return folder;
    }

    // Without lanes and pieces.
    private string Direct(TrainingGroup group, Prompt prompt)
    {
        using var model = FrozenBase.Load(Path.Combine(_tiny.Root, "model"), torch.CPU);
        using var scope = torch.NewDisposeScope();
        var layout = AdapterLayout.For(group.Plan.AdapterAt(group.Round), model.Model.AdaptableLayers);
        using var pass = AdapterPass.Evaluating(
            PlacedAdapter.Create(AdapterFactory.Of(group, layout, group.Members[0]), torch.CPU), model.Model);
        var ids = model.Tokenizer.EncodePrompt(prompt.Text);
        var options = new SamplingOptions { MaxNewTokens = prompt.MaxNewTokens, EndIds = [.. model.EndIds] };
        var text = new StreamedText(model.Tokenizer, ids);
        return string.Concat(Generation.Tokens(model.Model, pass, ids, options).Select(text.Add)) + text.Rest();
    }

    private static string DigestOf(IReadOnlyList<TrainingResult> results)
    {
        var result = Assert.Single(results);
        Assert.Null(result.Failure);
        using var bytes = new MemoryStream();
        foreach (var (_, array) in ((IEnumerable<KeyValuePair<string, NamedArray>>)[.. result.Update, .. result.Head, .. result.Optimizer])
            .OrderBy(static entry => entry.Key, StringComparer.Ordinal))
            bytes.Write(MemoryMarshal.AsBytes<float>(array.Data));
        return Convert.ToHexStringLower(SHA256.HashData(bytes.ToArray()));
    }
}
