using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Training.Inputs;

namespace FedRLora.Client;

/// <summary>A plan file as text.</summary>
/// <param name="Path">As the user gave it.</param>
/// <param name="Yaml">Its text.</param>
internal sealed record PlanFile(string Path, string Yaml)
{
    private const long MaxBytes = 64 << 20;

    /// <summary>The absolute folder that the plan's model and data paths start from.</summary>
    public string Folder => System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;

    /// <summary>SHA-256 of the text.</summary>
    public string Sha256 => RoundManifest.Digest(Encoding.UTF8.GetBytes(Yaml));

    /// <summary>Values that were set beside the file; null for none.</summary>
    private PlanChanges? Changes { get; init; }

    /// <summary>The plan, or every problem.</summary>
    public PlanReadResult Read() => Changes?.Read() ?? PlanReader.Read(Yaml, Path);

    /// <summary>The plan.</summary>
    /// <exception cref="PlanException">It has mistakes.</exception>
    public FederationPlan Require() => Changes?.Require() ?? PlanReader.Require(Yaml, Path);

    /// <summary>The same plan with another seed.</summary>
    /// <exception cref="BadInputException">The text is laid out so that the key cannot be set.</exception>
    public PlanFile WithSeed(ulong seed) => With("seed", seed.ToString(CultureInfo.InvariantCulture));

    /// <summary>The same plan with more or fewer rounds.</summary>
    /// <inheritdoc cref="WithSeed" path="/exception"/>
    public PlanFile WithRounds(int rounds) => With("strategy.rounds", rounds.ToString(CultureInfo.InvariantCulture));

    /// <summary>The same plan with nothing shared: the local-only reference.</summary>
    /// <inheritdoc cref="WithSeed" path="/exception"/>
    public PlanFile WithNothingShared() => this with { Yaml = LocalOnlyRun.PlanOf(Yaml, Path), Changes = null };

    /// <summary>The same plan with values set, each given as <c>training.learningRate=1e-3</c>.</summary>
    /// <param name="assignments">The values.</param>
    /// <param name="option">The option that they were given with.</param>
    /// <exception cref="BadInputException">One is no assignment, or the text is laid out so that it cannot be set.</exception>
    public PlanFile With(IReadOnlyList<string> assignments, string option = "--set")
    {
        if (assignments.Count == 0) return this;
        var changes = Changes?.And(option, assignments) ?? PlanChanges.Of(Yaml, Path, option, assignments);
        return this with { Yaml = changes.Yaml, Changes = changes };
    }

    /// <summary>The same text, whose values may be set again: nothing is known of how it came about.</summary>
    public PlanFile AsItStands() => this with { Changes = null };

    private PlanFile With(string path, string value) =>
        this with { Yaml = PlanEdit.Require(Yaml, path, value, Path), Changes = null };

    /// <summary>Reads the text.</summary>
    /// <exception cref="BadInputException">There is no such file, or it is not UTF-8 text.</exception>
    public static PlanFile Open(string path)
    {
        if (Directory.Exists(path))
        {
            var inner = System.IO.Path.Combine(path, "plan.yaml");
            throw new BadInputException($"{path}: is {GivenPath.FolderOf(path) ?? "a folder"}; "
                + $"give the plan file in it{(File.Exists(inner) ? $", {inner}" : "")}.");
        }

        GivenPath.RequirePlainFile(path);
        try
        {
            var file = new FileInfo(path);
            if (file.Exists && file.Length > MaxBytes)
                throw new BadInputException($"{path}: {file.Length} bytes are too many for a plan; the bound is {MaxBytes}.");
            return new(path, Utf8Text.Read(path));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BadInputException($"{path}: no such file.", e);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException or ArgumentException)
        {
            throw new BadInputException($"{path}: cannot be read: {e.Message}", e);
        }
    }
}
