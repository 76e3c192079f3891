using FedRLora.Abstractions.Plans;
using FedRLora.Client.Commands;
using FedRLora.ControlPlane.Views;

namespace FedRLora.EndToEnd.Tests.Client;

/// <summary>Tables on a terminal: no line is broken by it.</summary>
public class PlainTableTests
{
    [Theory]
    [InlineData(60)]
    [InlineData(80)]
    [InlineData(120)]
    [InlineData(400)]
    public void The_catalogue_of_methods_fits_the_terminal(int width)
    {
        var lines = MethodsCommand.Catalogue(width).Split('\n');
        Assert.All(lines, line => Assert.True(line.Length <= width, line));
        Assert.Equal(AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal),
            lines.Select(static line => line.Split(' ')[0]).Where(AdapterCatalog.Methods.ContainsKey));
        var words = string.Join(' ', lines).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Superset(
            AdapterCatalog.Methods.Values.SelectMany(static method => $"{method.Summary} {method.Source}".Split(' ')).ToHashSet(),
            words.ToHashSet());
    }

    [Fact]
    public void In_a_pipe_the_catalogue_has_a_line_for_each_method()
    {
        var lines = MethodsCommand.Catalogue(width: null).TrimEnd().Split('\n');
        Assert.Equal(AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal), lines[2..].Select(static line => line.Split(' ')[0]));
    }

    [Fact]
    public void A_cell_that_is_wider_than_the_terminal_is_broken_between_words() =>
        Assert.Equal("c0\n  reason the file is\n    not there\n  rows 7\n",
            PlainTable.Of(["client", "reason", "rows"], [["c0", "the file is not there", "7"]], width: 22));
}
