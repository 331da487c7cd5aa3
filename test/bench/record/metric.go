package record

// A Metric is what a row measures, with its unit. Less is better for all of them except rates and reclaimed bytes.
type Metric string

// The metrics of processes: CPU is user and system time together, memory is VmHWM.
const (
	Wall       Metric = "wall s"
	WallMs     Metric = "wall ms"
	CPU        Metric = "CPU s"
	ServerCPU  Metric = "server CPU s"
	StoreCPU   Metric = "MinIO's CPU s"
	ClientCPU  Metric = "client CPU s"
	TargetCPU  Metric = "destination's CPU s"
	PeakRSS    Metric = "peak memory MiB"
	Kept       Metric = "MB kept"
	Rate       Metric = "messages/s"
	WallEach   Metric = "wall µs a message"
	CPUEach    Metric = "server CPU µs a message"
	KeptEach   Metric = "bytes kept a message"
	IndexEach  Metric = "bytes of index a message"
	Read       Metric = "MB read"
	Requests   Metric = "requests"
	Gets       Metric = "GETs"
	GetsEach   Metric = "GETs a changed backup"
	Lists      Metric = "LISTs"
	Puts       Metric = "PUTs"
	Deletes    Metric = "DELETEs"
	Rewritten  Metric = "MB of packs rewritten"
	Reclaimed  Metric = "MB of packs reclaimed"
	Rewriting  Metric = "bytes rewritten a byte reclaimed"
	Allocs     Metric = "allocations"
	FloorTimes Metric = "server CPU, multiple of the floor"
)

// more reports whether a higher figure is better.
func (m Metric) more() bool { return m == Rate || m == Reclaimed }

// tolerance is the part of a figure that two builds may differ by, however little the repetitions
// spread: the machine has slow and fast minutes, and memory depends on when the collector runs.
func (m Metric) tolerance() float64 {
	switch m {
	case Kept, KeptEach, IndexEach, Read, Requests, Allocs, Gets, GetsEach, Lists, Puts, Deletes, Rewriting:
		return 0.01
	case CPU, ServerCPU, ClientCPU, StoreCPU, TargetCPU, CPUEach, FloorTimes:
		return 0.05
	default:
		return 0.10
	}
}

// least is the smallest difference that counts: clocks and the kernel's accounting are no finer.
func (m Metric) least() float64 {
	switch m {
	case Wall, CPU, ServerCPU:
		return 0.03
	case WallMs:
		return 3
	case PeakRSS:
		return 4
	default:
		return 0
	}
}

// secondary reports whether the metric says nothing about our programs.
func (m Metric) secondary() bool { return m == ClientCPU || m == StoreCPU || m == TargetCPU }
