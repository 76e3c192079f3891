using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Adapters.Peft;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// Adapters over the blocks of a real model's file, and over the folder it is converted to, as training computes them, beside PEFT: logits,
/// gradients, steps of AdamW, and a run on a public task; tolerances are those of the reference's README.
/// </summary>
[Collection(nameof(RealModels))]
public sealed class RealModelTrainingTests(RealModels models, ITestOutputHelper output)
{
    private const int ShortRun = 3;

    public static TheoryData<string, string, bool> Adapters => RealModels.Adapters;

    public static TheoryData<string> Learning =>
        [.. RealModels.Names.Cast<object[]>().Select(static row => (string)row[0])
            .Where(static name => RealModels.Has(name, "learning.json"))];

    [SharedTheory, MemberData(nameof(Adapters))]
    public void Logits_gradients_and_steps_match_the_reference(string name, string adapter, bool isConverted)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var io = SafetensorsFile.Open(RealModels.Of(name, "io.safetensors"));
        using var expected = SafetensorsFile.Open(RealModels.Of(name, adapter, "io.safetensors"));
        var digests = RealModels.Json(name, adapter, "digests.json");
        var losses = RealModels.Json(name, "expected.json").GetProperty("adapters").GetProperty(adapter)
            .GetProperty("losses_before_step_1_2_3_and_after").EnumerateArray().Select(static loss => loss.GetDouble()).ToList();
        var model = models.Model(name, isConverted);
        Tensor Int64(string key) => ModelFixtureTests.Int64(io, key);
        var (ids, mask) = (Int64("input_ids"), Int64("attention_mask"));
        var rows = PeftFixtureTests.RowsOf(ids, mask, Int64("labels"));
        using var run = new PeftRun(model, FolderOf(name, adapter, model, folder), new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 });
        // Nothing that the reference trains is passed over.
        Assert.Equal(
            digests.EnumerateObject().Select(static entry => entry.Name).Order(StringComparer.Ordinal),
            run.Saved.Select(static saved => saved.Name).Order(StringComparer.Ordinal));
        AssertDigests(run, digests, "start");
        output.WriteLine($"logits: {RealNumbers.AssertSummary(expected, run.Logits(ids, mask), mask):E2}");

        for (var step = 1; step <= 3; step++)
        {
            Close.AssertRelative(losses[step - 1], run.Gradients(rows), $"loss before step {step}", step == 1 ? 2e-5 : 1e-4);
            if (step == 1)
            {
                output.WriteLine($"digests of gradients: {AssertDigests(run, digests, "grad"):E2}");
                output.WriteLine($"gradients, of the largest: {Compare(run, expected, "grad.", AssertGradient):E2}");
            }

            run.Step(1e-3);
            if (step == 2) continue;
            output.WriteLine($"digests after step {step}: {AssertDigests(run, digests, $"after_step_{step}"):E2}");
            output.WriteLine($"after step {step}: {Compare(run, expected, $"after_step_{step}.", (reference, values, what) =>
                AssertStepped(reference, values, what, step)):E2}");
        }

        Close.AssertRelative(losses[3], run.Gradients(rows), "loss after step 3", 1e-4);
    }

    [SharedTheory, MemberData(nameof(Learning))]
    public void The_first_steps_on_a_public_task_have_the_reference_s_losses(string name) => Learn(name, ShortRun, scores: false);

    [SharedSoakTheory, MemberData(nameof(Learning))]
    public void A_run_on_a_public_task_has_the_reference_s_losses_and_accuracy(string name) => Learn(name, steps: null, scores: true);

    private void Learn(string name, int? steps, bool scores)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var (reference, model) = (RealModels.Json(name, "learning.json"), models.Model(name));
        var losses = reference.GetProperty("loss_per_step").EnumerateArray().Select(static loss => loss.GetDouble()).ToList();
        var (all, batch, task) = (losses.Count, reference.GetProperty("batch").GetInt32(), reference.GetProperty("task").GetString()!);
        var rows = RowsOf(name, task, "train");
        var start = FormulaAdapter.Write(RealModels.Of(name, "lora-all-layers"), folder.Root, model, trainsFromZero: true);
        using var run = new PeftRun(model, start, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 });
        if (scores) AssertScores(name, task, run, reference.GetProperty("before"));
        var furthest = 0.0;
        for (var step = 0; step < (steps ?? all); step++)
        {
            var loss = run.Gradients([.. rows.Skip(step * batch).Take(batch)]);
            furthest = Math.Max(furthest, Math.Abs(loss - losses[step]) / losses[step]);
            Close.AssertRelative(losses[step], loss, $"loss of step {step}", 1e-3);
            run.Step(1e-3 * (1 - (double)step / all));
        }

        output.WriteLine($"losses: relative difference {furthest:E2}");
        if (scores) AssertScores(name, task, run, reference.GetProperty("after"));
    }

    private void AssertScores(string name, string task, PeftRun run, JsonElement expected)
    {
        var labels = RealModels.Json(name, "learning.json").GetProperty("label_tokens").EnumerateObject()
            .Select(static label => label.Value[0].GetInt64()).ToArray();
        var (correct, loss, rows) = (0, 0.0, RowsOf(name, task, "test").Take(expected.GetProperty("rows").GetInt32()).ToList());
        foreach (var row in rows)
        {
            using var scope = NewDisposeScope();
            var prompt = row.Ids[..row.Start];
            var last = run.Logits(tensor([.. prompt.Select(static id => (long)id)], [1, prompt.Length]), null)[0, prompt.Length - 1]
                .log_softmax(-1).data<float>();
            correct += labels.MaxBy(label => last[label]) == row.Ids[row.Start] ? 1 : 0;
            loss -= last[row.Ids[row.Start]] / rows.Count;
        }

        output.WriteLine($"{correct} of {rows.Count} right, loss {loss:F4}");
        Assert.InRange(correct, expected.GetProperty("correct").GetInt32() - 2, expected.GetProperty("correct").GetInt32() + 2);
        Close.AssertRelative(expected.GetProperty("completion_loss_per_token").GetDouble(), loss, "loss of test rows", 1e-2);
    }

    // No begin and no end token; the completion carries the loss.
    private List<EncodedRow> RowsOf(string name, string task, string part)
    {
        var tokenizer = models.Base(name).Tokenizer;
        return [.. File.ReadLines(SharedFolder.Of("data", task, part + ".jsonl")).Select(line =>
        {
            var row = JsonDocument.Parse(line).RootElement;
            var prompt = row.GetProperty("prompt").GetString()!;
            var ids = tokenizer.Encode($"{prompt} {row.GetProperty("completion").GetString()}", addSpecialTokens: false);
            return new EncodedRow(ids, tokenizer.Encode(prompt, addSpecialTokens: false).Length);
        })];
    }

    private static string FolderOf(string name, string adapter, CausalLanguageModel model, TemporaryFolder folder) =>
        RealModels.Has(name, adapter, PeftAdapter.TensorFile)
            ? RealModels.Of(name, adapter)
            : FormulaAdapter.Write(RealModels.Of(name, adapter), folder.Root, model, trainsFromZero: false);

    private static double AssertDigests(PeftRun run, JsonElement digests, string when) => run.Saved.Max(saved =>
        RealNumbers.AssertDigest(
            digests.GetProperty(saved.Name).GetProperty(when), when == "grad" ? saved.Gradient : saved.Value, $"{when} of {saved.Name}"));

    private static double Compare(
        PeftRun run, SafetensorsFile expected, string prefix, Func<float[], float[], string, double> assert) => run.Saved
        .Where(saved => expected.Header.Tensors.ContainsKey(prefix + saved.Name))
        .Select(saved => assert(
            expected.ReadFloat32(prefix + saved.Name), prefix == "grad." ? saved.Gradient : saved.Value, prefix + saved.Name))
        .DefaultIfEmpty().Max();

    private static double AssertGradient(float[] reference, float[] values, string what)
    {
        var largest = reference.Max(Math.Abs);
        return Close.Assert(reference, values, what, 1e-3 * largest, 0) / largest;
    }

    // An element with a gradient near 0 may move the other way.
    private static double AssertStepped(float[] reference, float[] values, string what, int step)
    {
        var differences = reference.Zip(values, static (one, other) => Math.Abs((double)one - other)).ToList();
        var within = (double)differences.Count(static difference => difference <= 5e-5) / differences.Count;
        Assert.True(within >= 0.999, $"{what}: only {within:P3} of the elements are within 5e-5");
        Assert.True(differences.Max() <= 2e-3 * step, $"{what}: {differences.Max():E2}");
        return differences.Max();
    }
}
