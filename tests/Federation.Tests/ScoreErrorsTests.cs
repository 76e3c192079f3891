using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Federation.Tests;

/// <summary>Standard errors over rows against a bootstrap, and against the formulas of the plain cases.</summary>
public sealed class ScoreErrorsTests
{
    private const int Draws = 4000;

    [Fact]
    public void A_share_has_the_error_of_a_share()
    {
        var rows = Bits(200, static row => row % 4 == 0);

        Assert.Equal(Math.Sqrt(0.25 * 0.75 / 199), ScoreErrors.Of("accuracy", rows)!.Value, 12);
        Assert.Null(ScoreErrors.Of("accuracy", Bits(1, static _ => true)));
    }

    [Fact]
    public void Two_shares_of_the_same_rows_are_compared_by_the_rows_that_one_alone_has_right()
    {
        // 30 rows only the one has right, 10 only the other: McNemar's table.
        var (one, other) = (Bits(200, static row => row < 100), Bits(200, static row => row is >= 30 and < 110));

        var compared = ScoreErrors.Compare("exactMatch", one, (0.4, other));

        Assert.Equal((30, 10, 0.4), (compared.OnlyThis, compared.OnlyReference, compared.Reference));
        Assert.Equal(Math.Sqrt((40 - 20 * 20 / 200.0) / 200 / 199), compared.StandardError!.Value, 12);
        Assert.Null(ScoreErrors.Compare("matthews", one, (0.4, other)).StandardError);
        Assert.Throws<ArgumentException>(() => ScoreErrors.Compare("accuracy", one, (0.4, one[..9])));
    }

    [Theory]
    [InlineData("accuracy")]
    [InlineData("perplexity")]
    public void Errors_are_those_of_a_bootstrap(string metric)
    {
        // Rows of different lengths whose losses go together in both models.
        var random = new Random(5);
        var (one, other) = (new List<RowScore>(), new List<RowScore>());
        for (var row = 0; row < 150; row++)
        {
            var (tokens, hard) = (random.Next(1, 20), random.NextDouble());
            one.Add(new(tokens * (0.5 + hard + 0.2 * random.NextDouble()), tokens));
            other.Add(new(tokens * (0.6 + hard + 0.2 * random.NextDouble()), tokens));
        }

        var compared = ScoreErrors.Compare(metric, one, (Score(other), other));

        var (single, paired) = (new double[Draws], new double[Draws]);
        for (var draw = 0; draw < Draws; draw++)
        {
            var drawn = Enumerable.Range(0, one.Count).Select(_ => random.Next(one.Count)).ToList();
            single[draw] = Score([.. drawn.Select(row => one[row])]);
            paired[draw] = single[draw] - Score([.. drawn.Select(row => other[row])]);
        }

        // 4,000 draws know a standard error to about 1.1 %.
        Assert.InRange(ScoreErrors.Of(metric, one)!.Value / Spread(single), 0.95, 1.05);
        Assert.InRange(compared.StandardError!.Value / Spread(paired), 0.95, 1.05);
        Assert.True(Spread(paired) < Spread(single) / 3, "pairing is of no use here");

        double Score(IReadOnlyList<RowScore> rows)
        {
            var mean = rows.Sum(static row => row.Value) / rows.Sum(static row => row.Weight);
            return metric == "perplexity" ? Math.Exp(mean) : mean;
        }
    }

    [Theory]
    [InlineData(0, 0.55, 0.65)] // other mistakes: the bound is sqrt(3) too wide
    [InlineData(0.6, 0.75, 0.95)]
    [InlineData(1, 1, 1)] // the same mistakes: three clients know no more than one
    public void The_error_of_a_mean_is_at_most_as_said_however_alike_clients_are_on_the_same_rows(double alike, double low, double high)
    {
        var random = new Random(7);
        const int Rows = 400, Clients = 3;
        var first = Bits(Rows, _ => random.NextDouble() < 0.7);
        RowScore[][] clients = [first, .. Enumerable.Range(1, Clients - 1).Select(_ => Bits(Rows, row =>
            random.NextDouble() < alike ? first[row].Value == 1 : random.NextDouble() < 0.7))];
        RowScore[] mean = [.. Enumerable.Range(0, Rows).Select(row => new RowScore(clients.Average(client => client[row].Value), 1))];

        var bound = ScoreErrors.OfMean([.. clients.Select(static client => ("task", ScoreErrors.Of("accuracy", client)))])!.Value;

        // The mean's error over its rows is known exactly; a bootstrap that draws rows, each with all clients, agrees.
        var exact = ScoreErrors.Of("accuracy", mean)!.Value;
        var drawn = Enumerable.Range(0, Draws).Select(_ => Enumerable.Range(0, Rows).Average(_ => mean[random.Next(Rows)].Value)).ToArray();
        Assert.InRange(exact / Spread(drawn), 0.95, 1.05);
        Assert.InRange(exact / bound, low - 1e-12, high + 1e-12);
    }

    [Fact]
    public void A_paired_difference_of_a_mean_is_bounded_by_the_paired_differences_of_its_clients()
    {
        // Two clients and a reference for each on 8 rows, by hand: the differences are 1,1,0,0,0,0,0,0 and 0,1,1,0,0,0,0,-1.
        RowScore[] a = Of("11110000"), ofA = Of("00110000"), b = Of("11100110"), ofB = Of("10000111");
        RowScore[] mean = [.. new[] { 0.5, 1, 0.5, 0, 0, 0, 0, -0.5 }.Select(static value => new RowScore(value, 1))];

        var errors = new[] { (a, ofA), (b, ofB) }
            .Select(static pair => ("t", ScoreErrors.Compare("accuracy", pair.Item1, (0, pair.Item2)).StandardError)).ToArray();

        // Sums of squared deviations 2 - 4/8, 3 - 1/8, and 1.75 - 2.25/8 of the mean; each over 8 * 7.
        Assert.Equal(Math.Sqrt(1.5 / 56), errors[0].StandardError!.Value, 12);
        Assert.Equal(Math.Sqrt(2.875 / 56), errors[1].StandardError!.Value, 12);
        Assert.Equal(Math.Sqrt(1.46875 / 56), ScoreErrors.Of("accuracy", mean)!.Value, 12);
        Assert.Equal((Math.Sqrt(1.5 / 56) + Math.Sqrt(2.875 / 56)) / 2, ScoreErrors.OfMean(errors)!.Value, 12);
        Assert.True(ScoreErrors.Of("accuracy", mean) < ScoreErrors.OfMean(errors));

        static RowScore[] Of(string bits) => [.. bits.Select(static bit => new RowScore(bit - '0', 1))];
    }

    [Fact]
    public void Means_of_groups_that_share_no_rows_add_as_independent_ones_and_an_unknown_error_leaves_none()
    {
        Assert.Equal(Math.Sqrt(0.3 * 0.3 + 0.4 * 0.4) / 3, ScoreErrors.OfMean([("s", 0.1), ("t", 0.4), ("s", 0.2)])!.Value, 12);
        Assert.Null(ScoreErrors.OfMean([("s", 0.1), ("s", null)]));
        Assert.Null(ScoreErrors.OfMean([]));
    }

    private static double Spread(double[] values) =>
        Math.Sqrt(values.Sum(value => Math.Pow(value - values.Average(), 2)) / (values.Length - 1));

    private static RowScore[] Bits(int count, Func<int, bool> right) =>
        [.. Enumerable.Range(0, count).Select(row => new RowScore(right(row) ? 1 : 0, 1))];
}
