using System.Globalization;
using System.Text;

namespace FedRLora.Client;

/// <summary>Writes a character that a terminal's charset lacks as <c>\u8BCD</c> or <c>\U0001F600</c>, so that no name is lost.</summary>
internal sealed class EscapeFallback : EncoderFallback
{
    public override int MaxCharCount => 10;

    public override EncoderFallbackBuffer CreateFallbackBuffer() => new Buffer();

    private sealed class Buffer : EncoderFallbackBuffer
    {
        private string _escape = "";
        private int _next;

        public override int Remaining => _escape.Length - _next;

        public override bool Fallback(char charUnknown, int index) =>
            Begin(string.Create(CultureInfo.InvariantCulture, $"\\u{(int)charUnknown:X4}"));

        public override bool Fallback(char charUnknownHigh, char charUnknownLow, int index) =>
            Begin(string.Create(CultureInfo.InvariantCulture, $"\\U{char.ConvertToUtf32(charUnknownHigh, charUnknownLow):X8}"));

        public override char GetNextChar() => Remaining > 0 ? _escape[_next++] : '\0';

        public override bool MovePrevious()
        {
            if (_next == 0) return false;
            _next--;
            return true;
        }

        public override void Reset() => (_escape, _next) = ("", 0);

        private bool Begin(string escape)
        {
            (_escape, _next) = (escape, 0);
            return true;
        }
    }
}
