using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Tests.Golden;

/// <summary>Reported situations with the files that came with them: each is computed rightly, or refused by what is wrong in it.</summary>
public sealed class SituationTests : IDisposable
{
    private static readonly Dictionary<string, Func<SituationTests, string, Task>> Checks = new(StringComparer.Ordinal)
    {
        ["01-pissa-adapter"] = static (test, folder) => test.RefusesAsync(["init_lora_weights", "path_initial_model_for_weight_conversion"], adapter: folder),
    };

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
