using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>Adapters that a recent PEFT saved with its own options: scored on a real model as by PEFT, or refused by name.</summary>
public sealed class ForeignAdapterTests
{
    public static TheoryData<string> Folders => Fixtures.Of("foreign-adapter/*");

    [SharedTheory, MemberData(nameof(Folders))]
    public async Task It_is_scored_as_by_PEFT_or_refused_by_name(string folder)
    {
        var expected = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
        var (want, refusal) = (expected.GetProperty("want").GetString()!, (string?)null);
        try
        {
            using var model = await AdaptedModel.LoadAsync(SharedFolder.Of("models", "stories260k"), SharedFolder.Of(folder));
            var rows = SharedFolder.Of(Path.GetDirectoryName(folder)!, "rows.jsonl");
            var result = await model.ScoreAsync(rows, new EvaluationSpec { Metric = Metric.Perplexity }, maxTokens: 512);
            Assert.Equal(expected.GetProperty("peft_loss").GetDouble(), result.Loss, 1e-4);
        }
        catch (BadInputException refused)
        {
            refusal = refused.Message;
        }

        Assert.Contains(refusal is null ? "equal" : "refused", want, StringComparison.Ordinal);
        if (refusal is not null) Assert.Contains(expected.GetProperty("option").GetString()!, refusal, StringComparison.Ordinal);
    }
}
