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

    private static double Spread(double[] values) =>
        Math.Sqrt(values.Sum(value => Math.Pow(value - values.Average(), 2)) / (values.Length - 1));

    private static RowScore[] Bits(int count, Func<int, bool> right) =>
        [.. Enumerable.Range(0, count).Select(row => new RowScore(right(row) ? 1 : 0, 1))];
}
