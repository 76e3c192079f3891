using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.ControlPlane.Views;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class ComparisonTests
{
    private static ComparedRun Run(string name, double gain, string? yaml = null) =>
        new(name, yaml ?? SampleRun.Yaml, PlanReader.Require(yaml ?? SampleRun.Yaml, name), SampleRun.Rounds(gain));

    [Fact]
    public void A_difference_is_to_the_first_run_and_its_error_is_of_the_rows_where_they_are_known()
    {
        var (first, second) = (Run("one", 0.05), Run("two", 0.06));
        var reference = first.Rounds[^1].Manifest.Clients[0].Score!.Value;

        var compared = Comparison.Of(
        [
            first,
            second with
            {
                VersusFirst = new Dictionary<string, ScoreComparison>
                {
                    ["a"] = new() { Reference = reference, StandardError = 0.01 },
                    ["b"] = new() { Reference = 0.1, StandardError = 0.01 }, // rows of another scoring
                },
            },
        ]);

        var (a, b) = (compared.Clients[0].Scores[1], compared.Clients[1].Scores[1]);
        Assert.Equal(0.03, a.Difference!.Value, 12);
        Assert.Equal((true, 0.01, false), (a.IsPaired, a.DifferenceError, a.IsNoise));
        Assert.Equal(0.06 * Math.Sqrt(2), b.DifferenceError!.Value, 12);
        Assert.Equal((false, true), (b.IsPaired, b.IsNoise));
        Assert.Contains(compared.Notes, static note => note.StartsWith("two: the error is as of runs on other", StringComparison.Ordinal)
            && note.EndsWith("(b, c)", StringComparison.Ordinal));
    }

    [Fact]
    public void Means_are_those_of_each_runs_own_table_to_the_last_digit()
    {
        var run = Run("two", 0.06);

        var compared = Comparison.Of([Run("one", 0.05), run]);

        Assert.Equal(FinalTable.Of(run.Plan, run.Rounds, localOnly: null).Mean.Federated, compared.Mean.Scores[1].Score);
        Assert.Equal((0.03 + 0.03 + 0.06) / 3, compared.Mean.Scores[1].Difference!.Value, 12);
    }

    [Fact]
    public void What_plans_do_not_agree_on_is_told_by_key_whatever_their_layout()
    {
        var other = SampleRun.Yaml.Replace("seed: 7", "seed: 8\nadapter: lora", StringComparison.Ordinal)
            .Replace("strategy: {rounds: 3}", "strategy:\n  rounds: 3", StringComparison.Ordinal);

        var compared = Comparison.Of([Run("one", 0.05), Run("two", 0.05, other)]);

        Assert.Equal(
            ["adapter.method: null, lora", "seed: 7, 8"],
            compared.Plan.Select(static one => $"{one.Key}: {string.Join(", ", one.Values.Select(static value => value ?? "null"))}"));
    }

    [Theory]
    [InlineData("test: u.jsonl", "test: v.jsonl", "two: no difference, since it has other test rows (c)")]
    [InlineData("{id: c,", "{id: d,", "two: has no client c of one")]
    [InlineData("rounds: 3", "rounds: 9", "two: 3 of 9 rounds are committed")]
    public void What_cannot_be_compared_is_said(string from, string to, string said)
    {
        var compared = Comparison.Of([Run("one", 0.05), Run("two", 0.05, SampleRun.Yaml.Replace(from, to, StringComparison.Ordinal))]);

        Assert.Contains(said, compared.Notes);
    }

    [Fact]
    public void The_first_round_at_which_runs_part_is_told_by_digest()
    {
        var rounds = SampleRun.Rounds();
        var other = Run("two", 0.05) with
        {
            Rounds = [.. rounds.Select(static round => round.Manifest.Round < 2 ? round
                : round with { ManifestSha256 = new string('9', 64), Manifest = round.Manifest with { Shared = new("other", 1) } })],
        };

        var compared = Comparison.Of([Run("one", 0.05), Run("same", 0.05), other]);

        Assert.Equal([null, null, 2], compared.Runs.Select(static run => run.PartsIn));
        Assert.Equal([null, null, 2], compared.Runs.Select(static run => run.StatesPartIn));
    }

    [Fact]
    public void No_run_is_called_the_best_where_another_is_inside_two_standard_errors_of_it()
    {
        var (clear, near) = (Comparison.Of([Run("one", 0.25), Run("two", 0.05)]), Comparison.Of([Run("one", 0.06), Run("two", 0.05)]));

        Assert.Equal(("one", null), (SweepVerdict.BestOf(clear, []), SweepVerdict.BestOf(near, [])));
        Assert.Contains("2 runs were compared", SweepVerdict.Of(near, [])[1], StringComparison.Ordinal);
        Assert.Contains("not by that much against two", SweepVerdict.Of(near, [])[0], StringComparison.Ordinal);
        // Who shares no client with the first says nothing of it; with nobody else there is no best.
        Assert.Null(SweepVerdict.BestOf(clear, ["two"]));
        Assert.EndsWith(" accuracy) is compared with none", SweepVerdict.Of(clear, ["two"])[0], StringComparison.Ordinal);
        var three = Comparison.Of([Run("one", 0.25), Run("two", 0.05), Run("three", 0.25)]);
        Assert.Equal("one", SweepVerdict.BestOf(three, ["three"]));
        var said = SweepVerdict.Of(three, ["three"]);
        Assert.StartsWith("best of the runs with its clients: one (", said[0], StringComparison.Ordinal);
        Assert.Equal("not compared, since their clients are others: three", said[1]);
        Assert.StartsWith("2 runs were compared", said[2], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("accuracy", "all 0.9 all; local 0.7 x,y; lora 0.8 x,y; few 0.95 x; none - x,y", "lora local few all none")]
    [InlineData("accuracy", "lora 0.8 x,y; all 0.9 all", "all lora")]
    [InlineData("accuracy", "none - x,y; other - x,y; all 0.9 all", "all none other")]
    [InlineData("perplexity", "a 3 x; b 2 x; c 1 y", "b a c")]
    [InlineData("accuracy", "none - x", "none")]
    [InlineData("accuracy", "", "")]
    public void Runs_with_the_clients_that_most_have_stand_first_and_among_them_the_best(string metric, string runs, string expected)
    {
        var ranked = SweepVerdict.Ranked(
            runs.Split("; ", StringSplitOptions.RemoveEmptyEntries).Select(static run => run.Split(' ')), _ => metric,
            static run => run[1] == "-" ? null : double.Parse(run[1], System.Globalization.CultureInfo.InvariantCulture),
            static run => run[2].Split(','));

        Assert.Equal(expected, string.Join(' ', ranked.Select(static run => run[0])));
    }

    [Fact]
    public void Names_of_runs_are_made_of_the_values_and_are_unique_names()
    {
        var runs = SweptRun.Of(
        [
            SweptKey.Parse("--over", "training.learningRate=1e-3,5e-3"),
            SweptKey.Parse("--over", "adapter.targetModules=[q_proj, v_proj],[],\"a b\",'a:b'"),
        ]);

        Assert.Equal(8, runs.Select(static run => run.Name).Distinct(StringComparer.OrdinalIgnoreCase).Count());
        Assert.All(runs, static run => Assert.True(Identifiers.IsValid(run.Name)));
        Assert.Equal("learningRate-1e-3_targetModules--q_proj--v_proj-", runs[0].Name);
        Assert.Equal("[q_proj, v_proj]", runs[0].Values[1].Value);
        Assert.All(
            SweptRun.Of([SweptKey.Parse("--over", $"name={new string('a', 90)},{new string('a', 91)}")]),
            static run => Assert.True(Identifiers.IsValid(run.Name)));
    }

    [Theory]
    [InlineData("adapter.rank", "has no values")]
    [InlineData("adapter.rank=", "has no values")]
    [InlineData("adapter.rank=[4", "no YAML list")]
    [InlineData("adapter.rank=4,8,4", "has the value 4 twice")]
    public void Values_that_are_no_list_are_refused(string text, string said) => Assert.Contains(
        said, Assert.Throws<BadInputException>(() => SweptKey.Parse("--over", text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("local", "has no name or no values")]
    [InlineData("={a: 1}", "has no name or no values")]
    [InlineData("local=", "has no name or no values")]
    [InlineData("local=1", "no YAML mapping of one line")]
    [InlineData("local={a: 1", "no YAML mapping of one line")]
    [InlineData("local={a: 1} b", "no YAML mapping of one line")]
    [InlineData("local={a: 1, a: 2}", "no YAML mapping of one line")]
    [InlineData("local={[a]: 1}", "no YAML mapping of one line")]
    [InlineData("a/b={a: 1}", "a/b")]
    public void Arms_that_are_none_are_refused(string text, string said) => Assert.Contains(
        said, Assert.Throws<BadInputException>(() => SweptArm.Parse("--arm", text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Arms_come_first_in_names_and_each_is_run_with_every_value()
    {
        SweptArm[] arms =
        [
            SweptArm.Parse("--arm", "local={adapter.method: lora, sharing: none}"),
            SweptArm.Parse("--arm", "two={'adapter.targetModules': [q_proj, \"v_proj\"], clients: [{id: a, data: {train: 'x, y'}}]}"),
            SweptArm.Parse("--arm", "as-it-is={}"),
        ];

        var runs = SweptRun.Of([SweptKey.Parse("--over", "adapter.rank=4,8"), SweptKey.Parse("--seeds", "seed=1,2")], arms);

        Assert.Equal(12, runs.Count);
        Assert.Equal("local_rank-4_seed-1", runs[0].Name);
        Assert.Equal(("local_rank-4", "1"), (runs[0].Group, runs[0].Seed));
        var alike = SweptRun.Of([SweptKey.Parse("--over", "model=a/b,a-b"), SweptKey.Parse("--seeds", "seed=1,2")]);
        Assert.Equal(2, alike.Select(static run => run.GroupKey).Distinct().Count());
        Assert.Equal(6, runs.Select(static run => run.Group).Distinct().Count());
        Assert.Equal([new("adapter.method", "lora"), new("sharing", "none")], arms[0].Values);
        Assert.Equal("[q_proj, \"v_proj\"]", arms[1].Values[0].Value);
        Assert.Equal("[{id: a, data: {train: 'x, y'}}]", arms[1].Values[1].Value);
        Assert.Contains("Local and local are one name", Assert.Throws<BadInputException>(() => SweptArm.RequireDistinct(
            "--arm", [new("Local", []), new("local", [])])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Runs_that_differ_in_their_seed_alone_are_told_together_with_an_error_of_rows_and_one_of_seeds()
    {
        var (asked, told) = (new List<string>(), new List<ComparedScore>());
        SeedRun[] runs =
        [
            new("a", "a", "1", "a1", "accuracy", 0.5, []), new("a", "a", "2", "a2", "accuracy", 0.7, []),
            new("b", "b", "1", "b1", "accuracy", 0.4, []), new("b", "b", "2", "b2", "accuracy", 0.5, []),
            new("c", "c", "1", "c1", null, null, []),
        ];

        var table = await SeedTable.OfAsync(runs, names =>
        {
            asked.Add(string.Join(' ', names));
            var comparison = Comparison.Of([Run(names[0], 0.06), .. names.Skip(1).Select(name => Run(name, name == "b1" ? 0.05 : 0.03))]);
            told.Add(comparison.Mean.Scores[1]);
            return Task.FromResult(comparison);
        });

        var (best, other, none) = (table!.Groups[0], table.Groups[1], table.Groups[2]);
        Assert.Equal(("a", "b", "c"), (best.Group, other.Group, none.Group));
        Assert.Equal(0.6, best.Score!.Value, 1e-12);
        Assert.Equal(Math.Sqrt(0.02), best.Deviation!.Value, 1e-12);
        Assert.Equal(["a1 b1 c1", "a2 b2"], asked);
        Assert.True(told[0].Difference < 0 && told[1].Difference < told[0].Difference);
        Assert.Equal(told.Average(static one => one.Difference), other.Difference);
        Assert.Equal(told.Average(static one => one.DifferenceError), other.RowsError);
        // With two seeds, half of what lies between them.
        Assert.Equal((told[0].Difference - told[1].Difference)!.Value / 2, other.SeedsError!.Value, 1e-12);
        Assert.Equal(Math.Sqrt(Math.Pow(other.RowsError!.Value, 2) + Math.Pow(other.SeedsError!.Value, 2)), other.DifferenceError!.Value,
            1e-12);
        Assert.Null(none.Score);
        Assert.Null(await SeedTable.OfAsync(runs[2..3], static _ => throw new InvalidOperationException()));
        Assert.Contains("over seeds, a ", table.ToText(null), StringComparison.Ordinal);
        var alone = await SeedTable.OfAsync(runs[..2], static _ => throw new InvalidOperationException());
        Assert.DoesNotContain("every other", alone!.ToText(null), StringComparison.Ordinal);
        var mixed = await SeedTable.OfAsync(
            [.. runs[..2], new("d", "d", "1", "d1", "perplexity", 5, [])], static _ => throw new InvalidOperationException());
        Assert.Contains("different metrics", mixed!.ToText(null), StringComparison.Ordinal);

        // The best mean is of other clients, with whom nothing is compared.
        var apart = await SeedTable.OfAsync(
            [.. runs[..4].Select(static run => run with { Clients = ["x", "y"] }), new("d", "d", "1", "d1", "accuracy", 0.9, ["all"])],
            names => Task.FromResult(Comparison.Of([Run(names[0], 0.06), .. names.Skip(1).Select(static name => Run(name, 0.03))])));
        Assert.Equal([("a", false), ("b", false), ("d", true)],
            apart!.Groups.Select(static group => (group.Group, group.HasOtherClients)));
        Assert.EndsWith("; not compared, since their clients are others: d", apart.ToText(null).TrimEnd(), StringComparison.Ordinal);
        Assert.Contains("other clients", apart.ToText(null), StringComparison.Ordinal);
    }
}
