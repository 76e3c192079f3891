using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Combination;
using FedRLora.Training.Adapters.Peft;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>
/// Adapters that a recent PEFT saved with its own options: scored on a real model as by PEFT, or refused by name, by whatever reads them.
/// </summary>
public sealed class ForeignAdapterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Folders => Fixtures.Of("foreign-adapter/*");

    public void Dispose() => _folder.Dispose();

    [SharedTheory, MemberData(nameof(Folders))]
    public Task It_is_scored_as_by_PEFT_or_refused_by_name(string folder) =>
        HasItsOutcomeAsync(folder, adapter => ScoreAsync(folder, Stories, adapter));

    [SharedTheory, MemberData(nameof(Folders))]
    public Task It_is_merged_to_what_PEFT_computes_or_refused_by_name(string folder) => HasItsOutcomeAsync(folder, adapter =>
    {
        MergedModel.Write(Stories, adapter, _folder.File("merged"));
        return ScoreAsync(folder, _folder.File("merged"), null);
    });

    [SharedTheory, MemberData(nameof(Folders))]
    public Task It_is_combined_with_nothing_to_what_PEFT_computes_or_refused_by_name(string folder) => HasItsOutcomeAsync(folder, adapter =>
    {
        var combined = AdapterCombination.Combine([(adapter, 1)], new()).Adapter;
        File.WriteAllText(_folder.File(PeftConfig.FileName), combined.ConfigJson);
        using (var stream = File.Create(_folder.File(PeftAdapter.TensorFile)))
            SafetensorsCodec.Write(combined.Tensors, new Dictionary<string, string>(), stream);
        return ScoreAsync(folder, Stories, _folder.Root);
    });

    [SharedTheory, MemberData(nameof(Folders))]
    public Task A_run_starts_from_what_PEFT_computes_or_refuses_it_by_name(string folder) => HasItsOutcomeAsync(folder, async adapter =>
    {
        using var trainer = new LocalTrainer(new() { Root = _folder.Root });
        var client = new ClientSpec { Id = "one", Task = "one", Data = new() { Train = Rows(folder), Test = Rows(folder) } };
        var plan = new FederationPlan
        {
            Name = "given", Model = new() { Path = Stories }, Clients = [client],
            Adapter = AdapterCatalog.Methods["lora"].Spec with { From = adapter, Dropout = Dropout.None },
            Evaluation = new() { Metric = Metric.Perplexity },
        };
        var shared = await trainer.InitialSharedAsync(plan);
        var result = Assert.Single(
            await trainer.EvaluateAsync(new() { Plan = plan, Round = 0, Shared = shared, Members = [new() { Client = client }] }));
        Assert.Null(result.Failure);
        return result.Loss;
    });

    private static string Stories => SharedFolder.Of("models", "stories260k");

    private static string Rows(string folder) => SharedFolder.Of(Path.GetDirectoryName(folder)!, "rows.jsonl");

    private static async Task<double> ScoreAsync(string folder, string model, string? adapter)
    {
        using var loaded = await AdaptedModel.LoadAsync(model, adapter);
        return (await loaded.ScoreAsync(Rows(folder), new EvaluationSpec { Metric = Metric.Perplexity }, maxTokens: 512)).Loss;
    }

    private static async Task HasItsOutcomeAsync(string folder, Func<string, Task<double>> lossOf)
    {
        var expected = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
        var (want, refusal) = (expected.GetProperty("want").GetString()!, (string?)null);
        try
        {
            Assert.Equal(expected.GetProperty("peft_loss").GetDouble(), await lossOf(SharedFolder.Of(folder)), 1e-4);
        }
        catch (BadInputException refused)
        {
            refusal = refused.Message;
        }

        Assert.Contains(refusal is null ? "equal" : "refused", want, StringComparison.Ordinal);
        if (refusal is not null) Assert.Contains(expected.GetProperty("option").GetString()!, refusal, StringComparison.Ordinal);
    }
}
