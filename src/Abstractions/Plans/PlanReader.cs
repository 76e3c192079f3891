using System.Buffers;
using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// YAML to <see cref="FederationPlan"/>. Checks every value by itself, then asks <see cref="PlanValidator"/> whether they go
/// together, and reports every problem in one pass. A plan's digest is the SHA-256 of the text, so there is no writer.
/// </summary>
public static class PlanReader
{
    private const int MaxLength = 64 << 20;

    // The parser would skip them, or end there: control characters, but for tab, line feed, carriage return and next line.
    private static readonly SearchValues<char> NoText =
        SearchValues.Create([.. Enumerable.Range(0, 0xA0).Select(static code => (char)code)
            .Where(static c => char.IsControl(c) && c is not ('\t' or '\n' or '\r' or '\u0085'))]);

    /// <summary>Reads a plan.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="fileName">What the problems call the file.</param>
    public static PlanReadResult Read(string yaml, string fileName)
    {
        var problems = new ProblemList(fileName);
        if (yaml.Length > MaxLength)
            problems.Add(Place.Start, "", $"{yaml.Length} characters are too many for a plan; the bound is {MaxLength}.");
        else if (yaml.AsSpan().IndexOfAny(NoText) is >= 0 and var at)
            problems.Add(PlaceAt(yaml, at), "", $"the character U+{(int)yaml[at]:X4} is none of a text file; remove it.");
        var plan = problems.IsEmpty ? ReadUpToTheBound(yaml, problems) : null;
        return new() { Plan = problems.IsEmpty ? plan : null, Problems = problems.Sorted };
    }

    private static Place PlaceAt(string yaml, int at)
    {
        var before = yaml.AsSpan(0, at);
        return new(before.Count('\n') + 1, at - before.LastIndexOf('\n'));
    }

    private static FederationPlan? ReadUpToTheBound(string yaml, ProblemList problems)
    {
        try
        {
            return Read(yaml, problems);
        }
        catch (TooManyProblems)
        {
            return null;
        }
    }

    private static FederationPlan? Read(string yaml, ProblemList problems)
    {
        FederationPlan? plan = null;
        switch (new PlanNodeReader(problems).Read(yaml))
        {
            case null:
                break;
            case MapNode map:
                plan = Plan(new(map, "", problems));
                foreach (var conflict in PlanValidator.Conflicts(plan))
                    problems.Add(conflict);
                if (plan.Sharing == Sharing.None)
                    plan = plan with { Adapter = plan.Adapter.Unshared() };
                break;
            case var other:
                problems.Add(other.Place, "", $"{PlanSection.Shown(other)} is not a plan; a plan needs at least name, model and clients.");
                break;
        }

        return plan;
    }

    /// <summary>Reads a plan that has to be right.</summary>
    /// <exception cref="PlanException">It is not; the message has one line for each problem.</exception>
    public static FederationPlan Require(string yaml, string fileName)
    {
        var result = Read(yaml, fileName);
        return result.Plan ?? throw new PlanException(result.Problems);
    }

    private static FederationPlan Plan(PlanSection plan)
    {
        plan.RefuseYet("privacy");
        var result = new FederationPlan
        {
            Name = plan.RequiredIdentifier("name", "the run's name"),
            Seed = plan.Unsigned("seed", 0),
            Sharing = plan.Choice("sharing", Sharing.Method),
            Model = ModelReader.Read(plan),
            Adapter = AdapterReader.Read(plan.Section("adapter", shorthand: "method")),
            Training = TrainingReader.Read(plan),
            Strategy = StrategyReader.Read(plan),
            Tasks = TaskReader.Read(plan),
            Clients = ClientReader.Read(plan),
            Evaluation = EvaluationReader.Read(plan),
            Checkpoints = CheckpointReader.Read(plan),
            Telemetry = TelemetryReader.Read(plan),
            Store = StoreReader.Read(plan),
            Faults = FaultReader.Read(plan),
        };
        plan.Close();
        return result;
    }
}
