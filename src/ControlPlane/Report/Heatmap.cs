using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>Clients by rounds: a cell for each, coloured by a number; one that is late, failed, refused or in quarantine by that.</summary>
internal sealed record Heatmap : Plot
{
    private const int Wide = 980, Left = 110, Right = 12, Bottom = 38, MostHigh = 420, MostCellHigh = 18, MostCells = 1_000;

    private static readonly (int R, int G, int B)[] Stops = [(0, 32, 77), (60, 77, 110), (124, 123, 120), (187, 175, 105), (255, 234, 70)];

    // In front of the colours of numbers: nothing, then outcomes.
    private static readonly (ClientOutcome Outcome, string Style, string Text, (byte R, byte G, byte B, byte A) Colour)[] Marks =
    [
        (ClientOutcome.Late, "late", "late", (0x9a, 0xa5, 0xb1, 255)),
        (ClientOutcome.Failed, "failed", "failed", (0xd5, 0x5e, 0x00, 255)),
        (ClientOutcome.Refused, "refused", "refused", (0xb3, 0x26, 0x1e, 255)),
        (ClientOutcome.Quarantined, "quarantined", "in quarantine", (0xb5, 0x50, 0x8d, 255)),
    ];

    private static readonly (byte R, byte G, byte B, byte A)[] Palette =
        [(0, 0, 0, 0), .. Marks.Select(static mark => mark.Colour), .. Enumerable.Range(0, Shades).Select(static at => Shade(at))];

    private const int Shades = 240;

    private readonly string _what;
    private readonly Func<double?, string> _format;
    private readonly IReadOnlyList<RoundView> _rounds;
    private readonly List<string> _clients = [];
    private readonly double?[,] _values;
    private readonly ClientOutcome?[,] _outcomes;
    private readonly HashSet<ClientOutcome> _seen = [];
    private readonly bool _byRatio;
    private readonly double _least = double.PositiveInfinity, _most = double.NegativeInfinity;

    /// <param name="name">Of its file.</param>
    /// <param name="what">What the number is.</param>
    /// <param name="rounds">The rounds.</param>
    /// <param name="value">The number of a client in a round.</param>
    /// <param name="format">How it is written.</param>
    /// <param name="byRatio">Whether colours are even steps of ratios, where all numbers are above zero; else of differences.</param>
    public Heatmap(
        string name, string what, IReadOnlyList<RoundView> rounds, Func<ClientRow, double?> value, Func<double?, string> format,
        bool byRatio = false)
        : base(name, $"Clients by round: {what}")
    {
        (_what, _rounds, _format) = (what, rounds, format);
        var rows = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var client in rounds.SelectMany(static round => round.Clients))
            if (rows.TryAdd(client.Client, _clients.Count)) _clients.Add(client.Client);
        (_values, _outcomes) = (new double?[_clients.Count, rounds.Count], new ClientOutcome?[_clients.Count, rounds.Count]);
        for (var column = 0; column < rounds.Count; column++)
        {
            foreach (var client in rounds[column].Clients)
            {
                var row = rows[client.Client];
                (_values[row, column], _outcomes[row, column]) = (value(client), client.Outcome);
                _seen.Add(client.Outcome);
                if (_values[row, column] is not { } number) continue;
                (_least, _most) = (Math.Min(_least, number), Math.Max(_most, number));
            }
        }

        _byRatio = byRatio && _least > 0;
    }

    /// <inheritdoc/>
    public override bool IsEmpty => _least > _most || _rounds.Count < 2;

    /// <inheritdoc/>
    public override string About => $"{Title}: {Words.Count(_clients.Count, "client")} in {Words.Count(_rounds.Count, "round")}, "
        + $"from {_format(_least)} to {_format(_most)}.";

    /// <inheritdoc/>
    public override (int Width, int Height) Size => (Wide, Tall + Bottom);

    /// <inheritdoc/>
    public override IReadOnlyList<LegendEntry> Legend =>
    [
        new($"{_format(_least)} (lowest)", "shade lowest", true), new($"{_format(Middle)} (middle)", "shade middle", true),
        new($"{_format(_most)} (highest)", "shade highest", true),
        .. Marks.Where(mark => _seen.Contains(mark.Outcome))
            .Select(static mark => new LegendEntry(mark.Text, $"mark {mark.Style}", true)),
        new($"nothing: not in the round, or no {_what}", "cell", true),
    ];

    /// <inheritdoc/>
    public override void Draw(StringBuilder svg)
    {
        var (cellWide, cellHigh) = ((double)(Wide - Left - Right) / _rounds.Count, (double)Tall / _clients.Count);
        svg.Box("cell", Left, 0, Wide - Left - Right, Tall);
        if (_clients.Count * _rounds.Count <= MostCells) DrawCells(svg, cellWide, cellHigh);
        else DrawPicture(svg);
        var every = (int)Math.Ceiling(14 / cellHigh);
        for (var row = 0; row < _clients.Count; row += every)
            svg.Text(Left - 6, (row + 0.5) * cellHigh + 4, "end", Short(_clients[row]), _clients[row]);
        var step = (int)Axis.Whole(0, _rounds.Count - 1, ticks: 12).Step; // of columns: rounds that nobody was scored in have none
        for (var column = 0; column < _rounds.Count; column += step)
        {
            svg.Text(Left + (column + 0.5) * cellWide, Tall + 17, "middle",
                _rounds[column].Round.ToString(CultureInfo.InvariantCulture));
        }

        svg.Text((Left + Wide - Right) / 2.0, Tall + Bottom - 4, "middle", "round");
    }

    private double Middle => _byRatio ? Math.Sqrt(_least * _most) : (_least + _most) / 2;

    private int Tall => Math.Clamp(_clients.Count * MostCellHigh, MostCellHigh, MostHigh);

    private void DrawCells(StringBuilder svg, double wide, double high)
    {
        for (var row = 0; row < _clients.Count; row++)
        {
            for (var column = 0; column < _rounds.Count; column++)
            {
                var index = IndexAt(row, column);
                if (index == 0) continue;
                var (red, green, blue, _) = Palette[index];
                var said = MarkAt(row, column) is { } mark ? Marks[mark].Text : $"{_what} {Exact.Of(_values[row, column])}";
                svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{Svg.N(Left + column * wide)}\" y=\"{Svg.N(row * high)}\" ")
                    .Append(CultureInfo.InvariantCulture, $"width=\"{Svg.N(wide - 1)}\" height=\"{Svg.N(high - 1)}\" ")
                    .Append(CultureInfo.InvariantCulture, $"fill=\"#{red:x2}{green:x2}{blue:x2}\"><title>{Markup.Escape(_clients[row])}, ")
                    .Append(CultureInfo.InvariantCulture, $"round {_rounds[column].Round}: {said}</title></rect>\n");
            }
        }
    }

    private void DrawPicture(StringBuilder svg)
    {
        var pixels = new byte[_clients.Count * _rounds.Count];
        for (var row = 0; row < _clients.Count; row++)
            for (var column = 0; column < _rounds.Count; column++) pixels[row * _rounds.Count + column] = (byte)IndexAt(row, column);
        var png = Convert.ToBase64String(IndexedPng.Encode(_rounds.Count, pixels, Palette));
        svg.Append($"<image class=\"cells\" x=\"{Svg.N(Left)}\" y=\"0\" width=\"{Svg.N(Wide - Left - Right)}\" height=\"{Svg.N(Tall)}\" ")
            .Append("preserveAspectRatio=\"none\" href=\"data:image/png;base64,").Append(png).Append("\" />\n");
    }

    private int IndexAt(int row, int column) => MarkAt(row, column) is { } mark ? 1 + mark
        : _values[row, column] is not { } value ? 0
        : 1 + Marks.Length + (int)Math.Round(ShareOf(value) * (Shades - 1));

    private double ShareOf(double value) => _most <= _least ? 0.5
        : _byRatio ? Math.Log(value / _least) / Math.Log(_most / _least)
        : (value - _least) / (_most - _least);

    private int? MarkAt(int row, int column)
    {
        var mark = Array.FindIndex(Marks, one => one.Outcome == _outcomes[row, column]);
        return mark < 0 ? null : mark;
    }

    private static string Short(string client) => client.Length <= 16 ? client : client[..15] + "…";

    private static (byte R, byte G, byte B, byte A) Shade(int at)
    {
        var place = (double)at / (Shades - 1) * (Stops.Length - 1);
        var below = Math.Min(Stops.Length - 2, (int)place);
        var (from, to, share) = (Stops[below], Stops[below + 1], place - below);
        return (Mixed(from.R, to.R), Mixed(from.G, to.G), Mixed(from.B, to.B), 255);

        byte Mixed(int one, int other) => (byte)Math.Round(one + share * (other - one));
    }
}
